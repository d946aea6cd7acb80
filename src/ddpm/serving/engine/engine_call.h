#pragma once

#include <cstdint>
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
  int64_t num_rows = 0;       ///< That the network was called with.
  SamplerState before = {};   ///< Of the rows.
  AdvanceResult result = {};  ///< Of the rows.
};

/// The network call of these images, in another order where that saves work. Their states and
/// guesses lie in their slots again after it; the images themselves stand where they stood.
LaneCall call_network(EngineLane& lane, std::vector<BatchRow> rows, const EngineOptions& options,
                      EngineStats& stats);

}  // namespace ddpm
