#include "ddpm/serving/engine/engine_guesses.h"

#include <ATen/ATen.h>

#include "ddpm/diffusion/prediction.h"

namespace ddpm {

int64_t guesses_an_image(const EngineModel& model) {
  if (!model.self_conditioning) return 0;
  return model.null_class >= 0 ? 2 : 1;
}

CallGuesses gather_guesses(const EngineModel& model, const EngineSlots& slots,
                           const std::vector<BatchImage>& images,
                           const std::vector<int64_t>& taken) {
  if (!model.self_conditioning) return {};
  CallGuesses guesses;
  for (const int64_t slot : taken) guesses.places.push_back({.slot = slot});
  for (std::size_t i = 0; i < images.size(); ++i) {
    if (images[i].guidance == nullptr) continue;
    guesses.places.push_back({.slot = taken[i], .guess = 1});
  }
  guesses.values = slots.gather_guesses(guesses.places);
  return guesses;
}

EngineNetwork with_guesses(const EngineModel& model, const EngineNetwork& network,
                           const NoiseSchedule& schedule, CallGuesses& guesses) {
  if (!model.self_conditioning) return network;
  return [&, prediction = model.prediction](const Tensor& x_t, const Tensor& t,
                                            const Tensor& class_labels) {
    Tensor seen = guesses.values;
    const int64_t rows = seen.size(0);
    const int64_t padding = x_t.size(0) - rows;
    if (padding > 0) {
      const Tensor first = seen.narrow(/*dim=*/0, 0, 1);
      seen = at::cat({seen, first.expand({padding, -1, -1, -1})});
    }
    Tensor output = network(at::cat({x_t, seen}, /*dim=*/1), t, class_labels);
    const auto own = [rows](const Tensor& batch) { return batch.narrow(/*dim=*/0, 0, rows); };
    guesses.values = self_condition(schedule, prediction, own(x_t), own(t), own(output));
    return output;
  };
}

}  // namespace ddpm
