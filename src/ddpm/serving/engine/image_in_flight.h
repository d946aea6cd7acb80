#pragma once

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "ddpm/sampling/guidance.h"
#include "ddpm/sampling/sampler_plan.h"
#include "ddpm/serving/engine/engine_model.h"
#include "ddpm/serving/engine/engine_request.h"
#include "ddpm/serving/engine/engine_slots.h"

namespace ddpm {

/// An image on its way: where it stands in its request's plan, and where its state lies.
struct ImageInFlight {
  int64_t image = 0;  ///< Of the request.
  int64_t slot = 0;
  std::size_t position = 0;  ///< The plan's call that comes next.
  int64_t steps = 0;         ///< Taken.
  bool begins_step = true;   ///< Whether the next call is a step's first.
  MemoryMask memories = {};
  int64_t preview_step = 0;  ///< Of its last preview.
  EngineClock::time_point preview_time = {};
};

/// An accepted request.
struct OpenRequest {
  EngineTicket ticket = 0;
  EngineRequest request = {};
  EngineEvents events = {};
  std::shared_ptr<const EngineModel> model = {};
  std::shared_ptr<const SamplerPlan> plan = {};
  int64_t num_steps = 0;                         ///< plan->num_steps()
  std::optional<GuidedTimesteps> interval = {};  ///< Where guidance.interval says one.
  EngineClock::time_point arrival = {};
  EngineClock::time_point rank = {};          ///< Arrival, put forward by priority.
  double service = 0;                         ///< Of the scheduler.
  std::vector<ImageInFlight> in_flight = {};  ///< In the order of their images.
  std::vector<ImageInFlight> drawn = {};      ///< Whose last call was made, but not told of yet.
  int64_t next_image = 0;                     ///< The first that is not in flight yet.
  int64_t num_ended = 0;
  int64_t num_non_finite = 0;  ///< Of those that ended.
  int64_t next_frame = 0;      ///< Of the trace.
  bool is_cancelled = false;
  std::optional<RequestOutcome> outcome = {};  ///< Set once it has ended.
  std::string message = "";                    ///< Of the outcome.
};

/// Whether an image that stands at this call takes two rows.
bool is_guided(const OpenRequest& request, const SamplerCall& call);

/// The share of a request: a quarter, one or four.
double weight_of(const OpenRequest& request);

/// The step that a frame of the trace shows: frames lie equally spaced from the first step to the
/// last one.
int64_t step_of_frame(const OpenRequest& request, int64_t frame);

/// Whether the image, before its next call, is the trace's next frame.
bool is_frame_due(const OpenRequest& request, const ImageInFlight& image);

/// The label of an image; 0 for a model without classes.
int64_t label_of(const OpenRequest& request, int64_t image);

/// Moves the image past its call.
void take_call(ImageInFlight& image, const SamplerCall& call);

}  // namespace ddpm
