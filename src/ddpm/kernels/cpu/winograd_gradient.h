#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm::cpu {

/// The gradient of the weight of a convolution that has_winograd(). Its bits do not depend on the
/// number of threads.
///
/// @param d_y [N, O, H', W'] float32, channels_last.
/// @param x   [N, C, H, W] float32, channels_last.
/// @return    [O, C, 3, 3], channels_last.
Tensor winograd_weight_gradient(const Tensor& d_y, const Tensor& x, int64_t padding);

}  // namespace ddpm::cpu
