#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm::cpu {

/// True if this CPU multiplies tiles (AMX), and weight_gradient_bf16() takes the shapes: kernels 1
/// (of stride 1 without padding) and 3, channels that are multiples of 16.
bool has_weight_gradient_bf16(const Tensor& d_y, const Tensor& x, int64_t kernel, int64_t stride,
                              int64_t padding);

/// The gradient of a convolution's weight, summed in float32 and rounded once; its bits do not
/// depend on the number of threads:
///
///     dW[o, c, i, j] = sum_{n, y, x} d_y[n, o, y, x] x[n, c, s y + i - p, s x + j - p]
///
/// @param d_y [N, O, H', W'] bfloat16, channels_last.
/// @param x   [N, C, H, W] bfloat16, channels_last.
/// @return    [O, C, k, k] bfloat16, channels_last.
Tensor weight_gradient_bf16(const Tensor& d_y, const Tensor& x, int64_t kernel, int64_t stride,
                            int64_t padding);

}  // namespace ddpm::cpu
