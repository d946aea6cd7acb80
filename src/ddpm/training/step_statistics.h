#pragma once

#include <array>
#include <cstdint>
#include <optional>

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/step_sums.h"

namespace ddpm {

/// Forgets the sums, for the next row.
void clear_sums(StepStatistics& statistics);

/// The sums' means, on the host; NaN where there was nothing to average.
struct StepMeans {
  double loss = 0;
  double grad_norm = 0;
  std::array<double, kTimestepQuarters> quarter_loss{};
  std::optional<double> accuracy = {};  ///< of a classifier
};
StepMeans read_means(const StepStatistics& statistics);

}  // namespace ddpm
