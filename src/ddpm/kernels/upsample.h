#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Every pixel four times, in a square; differentiable.
///
/// @param x [N, C, H, W]
/// @return  [N, C, 2 H, 2 W], channels_last.
Tensor upsample_nearest_2x(const Tensor& x);

}  // namespace ddpm
