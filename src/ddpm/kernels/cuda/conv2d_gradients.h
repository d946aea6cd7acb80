#pragma once

#include "ddpm/core/tensor.h"

// Gradients of a 3x3 convolution of stride 1 and padding 1 over maps in bf16, channels_last, by
// whichever kernel is the fastest for the shape. All are deterministic.
namespace ddpm::cuda {

/// That of x, given that of the result.
///
/// @param d_y    [N, O, H, W]
/// @param weight [O, C, 3, 3]
/// @return       [N, C, H, W]
Tensor conv2d_input_gradient(const Tensor& d_y, const Tensor& weight);

/// Whether conv2d_weight_gradient() is faster for a map in two parts.
bool prefers_map_in_parts(const Tensor& d_y);

/// That of the weight.
///
/// @param x      [N, C, H, W]
/// @param x_rest [N, C', H, W] whose channels stand behind x's; undefined: none.
/// @param weight [O, C + C', 3, 3]
Tensor conv2d_weight_gradient(const Tensor& d_y, const Tensor& x, const Tensor& x_rest,
                              const Tensor& weight);

}  // namespace ddpm::cuda
