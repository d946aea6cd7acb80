#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm::cpu {

/// A 3x3 convolution's weight as convolve_winograd() reads it: four times as large.
struct WinogradWeight {
  Tensor numbers;  ///< float32, flat
  int64_t out_channels = 0, in_channels = 0;
};

/// True if convolve_winograd() takes a convolution of float32 by a weight [O, C, k, k]: kernel 3,
/// stride 1, padding 0 to 2, at least 16 channels on both sides. Only x86 has been measured.
bool has_winograd(const Tensor& weight, int64_t stride, int64_t padding);

/// True if a weight that stands ready makes it the faster way for results of such sides: below, its
/// larger weights take longer to read than products of the smaller ones.
bool prefers_winograd(int64_t height, int64_t width);

/// Of a weight [O, C, 3, 3].
WinogradWeight winograd_weight_of(const Tensor& weight);

/// Of the weight [C, O, 3, 3] with which the gradient of a convolution's result becomes that of
/// what came in.
WinogradWeight turned_winograd_weight_of(const Tensor& weight);

/// y = conv(x, weight) + bias + residual with kernel 3 and stride 1. An image's bits do not depend
/// on the others, nor on the number of threads.
///
/// @param x            [N, C, H, W] float32, channels_last.
/// @param padding      0 to 2, of both sides.
/// @param bias         [O], or undefined.
/// @param residual     like y, channels_last, or undefined.
/// @param is_upsampled upsample_nearest_2x(x) comes in.
/// @return             [N, O, H', W'], channels_last.
/// @throws std::invalid_argument if x or the bias has another number of channels than the weight.
Tensor convolve_winograd(const Tensor& x, const WinogradWeight& weight, const Tensor& bias,
                         const Tensor& residual, int64_t padding, bool is_upsampled = false);

}  // namespace ddpm::cpu
