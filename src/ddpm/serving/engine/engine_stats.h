#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>

#include "ddpm/serving/engine/engine_request.h"

namespace ddpm {

/// Counts of values up to each bound, and above the last.
template <std::size_t kBounds>
struct EngineHistogram {
  std::array<double, kBounds> bounds;
  std::array<uint64_t, kBounds + 1> counts = {};
  double sum = 0;

  void add(double value) {
    const auto above = std::lower_bound(bounds.begin(), bounds.end(), value);
    ++counts.at(static_cast<std::size_t>(above - bounds.begin()));
    sum += value;
  }
  uint64_t total() const {
    uint64_t sum_of_counts = 0;
    for (const uint64_t count : counts) sum_of_counts += count;
    return sum_of_counts;
  }
};

/// What a pool of models has done.
struct ModelPoolStats {
  int64_t num_resident = 0;
  int64_t resident_bytes = 0;  ///< With those that are being read.
  uint64_t num_loads = 0;
  uint64_t num_failed_loads = 0;
  uint64_t num_evictions = 0;
};

/// The engine in numbers, for /metrics and admission.
struct EngineStats {
  int64_t open_requests = 0;
  int64_t open_images = 0;       ///< Accepted and not ended.
  int64_t running_requests = 0;  ///< Of the open ones: those whose turn has come.
  int64_t in_flight_images = 0;  ///< Of the open ones: those with a state.
  int64_t state_bytes = 0;
  int64_t plan_bytes = 0;
  /// Images of a network call, and its seconds: to its events, from its gathering or the events of
  /// the call before, whichever came last.
  EngineHistogram<10> batch_images{.bounds = {1, 2, 4, 8, 16, 24, 32, 48, 64, 128}};
  EngineHistogram<12> step_seconds{
      .bounds = {0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5}};
  uint64_t rows = 0;         ///< Of network calls: images, and guided ones again.
  uint64_t padded_rows = 0;  ///< Beyond these, to fill a batch size.
  uint64_t lent_calls = 0;   ///< Network calls for other threads, not among the others here.
  uint64_t images_done = 0;
  uint64_t images_non_finite = 0;
  uint64_t failed_calls = 0;         ///< Network calls that threw.
  uint64_t failed_calls_in_row = 0;  ///< Since one that did not: a device that is lost stays so.
  uint64_t out_of_memory = 0;        ///< Network calls that were taken back to be made smaller.
  std::array<uint64_t, kNumOutcomes> ended = {};  ///< Requests by RequestOutcome.
  uint64_t rejected_full = 0;
  uint64_t rejected_draining = 0;
  double seconds_per_call = 0;  ///< Of one image, smoothed: for estimates of waiting.
  int64_t open_calls = 0;       ///< Network calls of an image that open requests still need.
  ModelPoolStats models = {};
};

}  // namespace ddpm
