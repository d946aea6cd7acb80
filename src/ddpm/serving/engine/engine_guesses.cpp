#include "ddpm/serving/engine/engine_guesses.h"

#include <ATen/ATen.h>

#include "ddpm/diffusion/prediction.h"

namespace ddpm {

int64_t guesses_an_image(const EngineModel& model) {
  if (!model.self_conditioning) return 0;
  return model.null_class >= 0 ? 2 : 1;
}

EngineNetwork with_guesses(const EngineModel& model, const EngineNetwork& network,
                           const NoiseSchedule& schedule, int64_t rows, CallGuesses& guesses) {
  if (!model.self_conditioning) return network;
  return [&, rows, prediction = model.prediction](const Tensor& x_t, const Tensor& t,
                                                  const Tensor& class_labels) {
    Tensor output = network(at::cat({x_t, guesses.last}, /*dim=*/1), t, class_labels);
    const auto own = [rows](const Tensor& batch) { return batch.narrow(/*dim=*/0, 0, rows); };
    guesses.made = self_condition(schedule, prediction, own(x_t), own(t), own(output));
    return output;
  };
}

}  // namespace ddpm
