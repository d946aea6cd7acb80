#pragma once

#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ddpm/config/guidance_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/core/tensor.h"

namespace ddpm {

using EngineClock = std::chrono::steady_clock;
/// Names an accepted request: 1, 2, ..
using EngineTicket = uint64_t;

/// Images to draw: those of sample_images for the same model, options and seed.
struct EngineRequest {
  std::string model = "";
  uint64_t seed = 0;
  uint64_t first_image = 0;  ///< Image i of the request is image first_image + i of the seed.
  int64_t num_images = 1;
  SamplerOptions sampler = {};
  std::vector<int64_t> class_labels = {};  ///< One for all or one an image; none without classes.
  GuidanceOptions guidance = {};           ///< By the model's null class; scale 1: none.
  int priority = 0;                        ///< -1, 0 or 1: a quarter, one or four shares.
  std::optional<EngineClock::time_point> deadline = {};
  bool wants_previews = false;
  int64_t trace_frames = 0;  ///< Of the first image: as many states of its way as this.
};

/// An image has taken a step.
struct ImageProgress {
  EngineTicket ticket = 0;
  int64_t image = 0;  ///< Of the request: 0 .. num_images - 1.
  int64_t step = 0;   ///< Steps taken, 1 .. num_steps.
  int64_t num_steps = 0;
  double t = 0;              ///< Of the network call that ended the step.
  Tensor pred_x_start = {};  ///< [C, H, W] float32 on the CPU where there is a preview.
};

/// A state on an image's way, before a step of it, on the CPU.
struct ImageTrace {
  EngineTicket ticket = 0;
  int64_t image = 0;
  int64_t frame = 0;  ///< 0 .. trace_frames - 1, or fewer where there are fewer steps.
  int64_t step = 0;
  double t = 0;
  Tensor x_t = {};           ///< [C, H, W] float32.
  Tensor eps = {};           ///< like x_t
  Tensor pred_x_start = {};  ///< like x_t
};

/// An image's way is over.
struct ImageResult {
  EngineTicket ticket = 0;
  int64_t image = 0;
  bool is_finite = true;
  Tensor x = {};  ///< [C, H, W] float32 on the CPU, mostly in [-1, 1]; undefined if not finite.
};

/// How a request ends, which each does once.
enum class RequestOutcome {
  kDone,       ///< Every image was drawn.
  kNonFinite,  ///< Every image ended, some not finite.
  kCancelled,
  kTimedOut,  ///< Its deadline passed.
  kFailed,    ///< Its model could not be read, or the network threw.
  kStopped,   ///< The engine stopped before its end.
};
inline constexpr std::size_t kNumOutcomes = 6;

struct RequestEnd {
  EngineTicket ticket = 0;
  RequestOutcome outcome = RequestOutcome::kDone;
  std::string message = "";  ///< Of kFailed: what was thrown. For logs, not for clients.
};

/// What the engine tells of a request, on its own thread, in this order: start, then the images'
/// events, then end. They must return soon; what they throw is logged and dropped.
struct EngineEvents {
  std::function<void(EngineTicket)> start = {};  ///< Before the first network call.
  std::function<void(const ImageProgress&)> progress = {};
  std::function<void(const ImageTrace&)> trace = {};
  std::function<void(const ImageResult&)> image = {};
  std::function<void(const RequestEnd&)> end = {};
};

}  // namespace ddpm
