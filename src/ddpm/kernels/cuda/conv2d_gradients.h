#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/cuda/conv2d_warpgroup_kernels.h"

// Gradients of a convolution of stride 1 over channels_last maps, by whichever kernel is the
// fastest for the shape: of kernel 3 and padding 1 in bf16, where nothing else is said. All are
// deterministic.
namespace ddpm::cuda {

/// That of x, given that of the result.
///
/// @param d_y    [N, O, H, W]
/// @param weight [O, C, 3, 3]
/// @return       [N, C, H, W]
Tensor conv2d_input_gradient(const Tensor& d_y, const Tensor& weight);

/// The same by conv2d_warpgroup(), of any convolution that it takes turned.
///
/// @param conv     is_warpgroup_conv(); its x is d_y.
/// @param d_y      channels_last.
/// @param residual like the result, channels_last, which is added; undefined: none.
Tensor turned_warpgroup_conv2d(const WarpgroupConv& conv, const Tensor& d_y, const Tensor& weight,
                               const Tensor& residual);

/// Whether conv2d_weight_gradient() is faster for a map in two parts.
bool prefers_map_in_parts(const Tensor& d_y);

/// That of the weight.
///
/// @param x      [N, C, H, W]
/// @param x_rest [N, C', H, W] whose channels stand behind x's; undefined: none.
/// @param weight [O, C + C', 3, 3]
Tensor conv2d_weight_gradient(const Tensor& d_y, const Tensor& x, const Tensor& x_rest,
                              const Tensor& weight);

/// Whether convolve_backwards() is the fastest way to that of x: few channels come out.
///
/// @param weight [O, C, k, k], of any kernel.
bool prefers_convolution_backwards(const Tensor& weight, int64_t padding);

/// That of x of any kernel, in bf16 or float32, as a convolution of that of the result.
///
/// @param d_y    [N, O, H', W']
/// @param weight [O, C, k, k], k > padding.
/// @return       [N, C, H, W]
Tensor convolve_backwards(const Tensor& d_y, const Tensor& weight, int64_t padding);

}  // namespace ddpm::cuda
