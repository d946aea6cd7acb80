#include "ddpm/serving/engine/image_in_flight.h"

#include <algorithm>
#include <cmath>

namespace ddpm {

bool is_guided(const OpenRequest& request, const SamplerCall& call) {
  if (request.request.guidance.scale == 1) return false;
  return !request.interval || request.interval->contains(call.level.t);
}

double weight_of(const OpenRequest& request) { return std::pow(4.0, request.request.priority); }

int64_t step_of_frame(const OpenRequest& request, int64_t frame) {
  const int64_t frames = std::min(request.request.trace_frames, request.num_steps);
  if (frames <= 1) return 0;
  return frame * (request.num_steps - 1) / (frames - 1);
}

bool is_frame_due(const OpenRequest& request, const ImageInFlight& image) {
  const int64_t frames = std::min(request.request.trace_frames, request.num_steps);
  return image.image == 0 && image.begins_step && request.next_frame < frames &&
         image.steps == step_of_frame(request, request.next_frame);
}

int64_t label_of(const OpenRequest& request, int64_t image) {
  const std::vector<int64_t>& labels = request.request.class_labels;
  if (labels.empty()) return 0;
  return labels.size() == 1 ? labels.front() : labels.at(static_cast<std::size_t>(image));
}

void take_call(ImageInFlight& image, const SamplerCall& call) {
  ++image.position;
  if (call.ends_step) ++image.steps;
  image.begins_step = call.ends_step;
  for (const MemoryWrite& write : call.writes) image.memories.set(write.slot);
}

}  // namespace ddpm
