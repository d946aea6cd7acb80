#pragma once

#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm::cuda {

/// sampler_update of values [N, ...] on a GPU as one kernel, which takes the coefficients [N, K] as
/// its arguments. As many values as kMostSamplerTerms count, alike, float32 or float64.
Tensor fused_sampler_update(const std::vector<Tensor>& values, at::ArrayRef<double> coefficients,
                            double clip_range);

}  // namespace ddpm::cuda
