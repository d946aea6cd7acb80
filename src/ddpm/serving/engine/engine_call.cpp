#include "ddpm/serving/engine/engine_call.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <tuple>
#include <utility>

#include "ddpm/serving/engine/engine_batch.h"
#include "ddpm/serving/engine/engine_guesses.h"
#include "ddpm/serving/engine/engine_input.h"
#include "ddpm/serving/engine/engine_lane.h"
#include "ddpm/serving/engine/scheduler.h"

namespace ddpm {
namespace {

BatchImage batch_image(const OpenRequest& request, const ImageInFlight& image) {
  const SamplerCall& call = request.plan->calls[image.position];
  return {.call = &call,
          .sampler = &request.request.sampler,
          .guidance = is_guided(request, call) ? &request.request.guidance : nullptr,
          .seed = request.request.seed,
          .number = request.request.first_image + static_cast<uint64_t>(image.image),
          .slot = image.slot,
          .class_label = label_of(request, image.image),
          .whole_timesteps = request.plan->whole_timesteps};
}

/// Images that clip alike lie side by side, and guided ones come first among them: fewer parts.
void sort_rows(std::vector<BatchRow>& rows) {
  const auto key = [](const BatchRow& row) {
    const SamplerOptions& sampler = row.request->request.sampler;
    const bool guided = is_guided(*row.request, row.request->plan->calls[row.image->position]);
    return std::tuple(sampler.clip, sampler.clip_range, sampler.dynamic_ratio, sampler.dynamic_max,
                      guided ? 0 : 1);
  };
  std::stable_sort(rows.begin(), rows.end(),
                   [&](const BatchRow& a, const BatchRow& b) { return key(a) < key(b); });
}

}  // namespace

LaneCall call_network(EngineLane& lane, std::vector<BatchRow> rows, const EngineOptions& options,
                      EngineStats& stats) {
  sort_rows(rows);
  std::vector<BatchImage> images;
  MemoryMask memories;
  for (const BatchRow& row : rows) {
    images.push_back(batch_image(*row.request, *row.image));
    memories |= row.image->memories;
  }
  const auto count = static_cast<int64_t>(images.size());
  const int64_t needed = count_rows(images);
  const int64_t padded = padded_size(needed, options.batch_sizes);
  const CallInput input = gather_input(*lane.model, lane.slots, images, padded);
  const Tensor slots = input.slots.narrow(/*dim=*/0, 0, count);
  LaneCall call{.rows = std::move(rows), .num_rows = padded};
  call.before = {.x = input.x.narrow(/*dim=*/0, 0, count),
                 .memory = lane.slots.gather_memories(slots, memories)};
  CallGuesses guesses{.last = lane.slots.gather_guesses(input.guess_rows)};
  const EngineNetwork network =
      with_guesses(*lane.model, *lane.network, lane.schedule, needed, guesses);
  call.result = advance_batch(*lane.model, network, images, input, call.before);
  lane.slots.scatter(slots, call.before, call.result.state);
  lane.slots.scatter_guesses(input.guess_rows, guesses.made);
  stats.rows += static_cast<uint64_t>(needed);
  stats.padded_rows += static_cast<uint64_t>(padded - needed);
  return call;
}

}  // namespace ddpm
