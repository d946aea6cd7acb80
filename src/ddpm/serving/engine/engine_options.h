#pragma once

#include <chrono>
#include <cstdint>
#include <optional>
#include <vector>

namespace ddpm {

/// Bounds of an engine. All are checked before anything is allocated for a request.
struct EngineOptions {
  int64_t max_batch = 64;  ///< Rows of a network call; a guided image takes two. At least 2.
  /// Rows that the network is called with, ascending: other batches are padded or cut (scheduler.h)
  /// so that few shapes are captured as CUDA graphs. Empty: any, as a CPU wants.
  std::vector<int64_t> batch_sizes = {};
  int64_t max_in_flight = 256;                 ///< Images of a model with a state.
  int64_t max_state_bytes = int64_t{1} << 30;  ///< Of a model's states; at least one image's.
  int64_t max_open_images = 4096;              ///< Accepted and not ended.
  int64_t max_plan_bytes = int64_t{32} << 20;  ///< Of the sampler plans of open requests.
  int64_t max_images = 256;                    ///< Of one request.
  int64_t max_steps = 1000;                    ///< Noise levels of one image.
  int64_t max_model_bytes = int64_t{8} << 30;  ///< Of the weights that are resident.
  int64_t preview_every = 4;                   ///< Steps of an image between previews of it.
  std::chrono::milliseconds preview_interval{150};
  int64_t finite_check_every = 8;  ///< Network calls between checks, where these cost a GPU time.
  /// Whether events of a network call are told after the next one was launched, so that nobody
  /// waits for its results meanwhile. Unset: on a GPU.
  std::optional<bool> tells_late = {};
  /// How long the oldest request of a model that has no room waits until no new request of the
  /// models that take the room begins.
  std::chrono::milliseconds model_patience{5000};
};

/// The batch sizes for a device: a few for a GPU, any for a CPU.
inline std::vector<int64_t> default_batch_sizes(bool is_gpu) {
  if (!is_gpu) return {};
  return {1, 2, 4, 8, 16, 24, 32, 48, 64};
}

}  // namespace ddpm
