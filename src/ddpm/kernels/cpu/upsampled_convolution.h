#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/cpu/packed_weight.h"

namespace ddpm {

/// The convolutions that one of kernel 3 and padding 1 over a map of repeated pixels
/// (upsample_nearest_2x) consists of: each pixel (2 i + a, 2 j + b) of the result sees 2 x 2 pixels
/// of the small map only, with sums of the 3 x 3 weights, so 4/9 of the products are left.
///
///     y[2 i + a, 2 j + b] = sum_{u, v} phase_{a b}[u, v] x[i + a - 1 + u, j + b - 1 + v]
///
/// @param weight [O, C, 3, 3]
/// @return       [4 O, C, 2, 2]: phases (0, 0), (0, 1), (1, 0), (1, 1).
Tensor phase_weight(const Tensor& weight);

/// The convolution of upsample_nearest_2x(x), without gradients.
///
/// @param x      [N, C, H, W], channels_last.
/// @param phases of phase_weight, stride 1, padding 1.
/// @param bias   [O], or undefined.
/// @return       [N, O, 2 H, 2 W], channels_last.
Tensor packed_upsampled_conv2d(const Tensor& x, const PackedWeight& phases, const Tensor& bias);

/// True if it is the faster way for a map [N, C, H, W]: small maps have more weights than pixels,
/// and bfloat16's products take less time than what comes with them.
bool prefers_phases(const Tensor& x);

}  // namespace ddpm
