#pragma once

#include <vector>

#include "ddpm/sampling/sampler_state.h"
#include "ddpm/serving/engine/engine_options.h"
#include "ddpm/serving/engine/engine_stats.h"
#include "ddpm/serving/engine/image_in_flight.h"

namespace ddpm {

struct EngineLane;

/// Whose row of a batch it is.
struct BatchRow {
  OpenRequest* request = nullptr;
  ImageInFlight* image = nullptr;
};

/// A network call that was made.
struct LaneCall {
  std::vector<BatchRow> rows;
  SamplerState before;        ///< Of the rows.
  AdvanceResult result = {};  ///< Of the rows.
};

/// Moves the images of a call past it and tells their events: traces, then for each image its
/// progress, with a preview where one is due, and its end. Images that ended leave their slots;
/// requests whose images all ended get their outcome.
void report_call(EngineLane& lane, const LaneCall& call, const EngineOptions& options,
                 EngineClock::time_point now, EngineStats& stats);

}  // namespace ddpm
