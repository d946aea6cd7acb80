#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "ddpm/kernels/cuda/group_norm_sums_kernels.h"

namespace ddpm::cuda {

/// A 3x3 convolution of stride 1 and padding 1 over maps in bf16, channels last, with the norm and
/// SiLU before it, a 1x1 convolution beside it and the sums that the next norm needs behind it.
struct WarpgroupConv {
  int images = 0;
  int height = 0, width = 0;             ///< Of the result: both 4 or 8, or multiples of 16.
  int channels = 0, rest_channels = 0;   ///< Of x and of x_rest: multiples of 32, 128 in all.
  int side_channels = 0, side_rest = 0;  ///< Of the shortcut's maps: multiples of 32.
  int out_channels = 0;                  ///< A multiple of 128.
  bool upsampled = false;   ///< x is half as high and wide, its sides 8 or multiples of 16, and
                            ///< comes in upsampled (nearest); no shortcut then.
  bool transposed = false;  ///< x is as small and is the gradient of the result of a convolution of
                            ///< stride 2 over a map with zeros behind its right and bottom sides;
                            ///< out is that of the map. No shortcut, norm or sums then.
};

/// Null pointers take no part. All but norm and sums are bf16.
struct WarpgroupConvTensors {
  const void* x = nullptr;            ///< [images, height, width, channels]
  const void* x_rest = nullptr;       ///< Channels behind x's.
  const float* norm = nullptr;        ///< [images, channels + rest_channels, 2] a and b:
                                      ///< silu(a x + b) comes in.
  const void* side = nullptr;         ///< [images, height, width, side_channels]
  const void* side_rest = nullptr;    ///< Channels behind side's.
  const void* weight = nullptr;       ///< [out / 128, in / 32, 9 taps, 4, 128 of out, 8 of in];
                                      ///< upsampled: [4 phases, out / 128, in / 32, 4 taps, ...];
                                      ///< transposed: the convolution's own, turned
  const void* side_weight = nullptr;  ///< The same of one tap.
  const void* bias = nullptr;         ///< [out_channels], or a row an image.
  int64_t bias_stride = 0;            ///< Between images' rows; 0: one for all.
  const void* more_bias = nullptr;    ///< [out_channels]
  const void* residual = nullptr;     ///< Like out.
  void* out = nullptr;                ///< [images, height, width, out_channels]
  float* sums = nullptr;  ///< [images, conv2d_warpgroup_parts(), out_channels, 2]: of equal parts
                          ///< of out's pixels, the sums of values and of squares.
  NormFromSums norm_from = {};  ///< In the place of norm, where takes_norm_from_sums(); without
                                ///< groups: none.
};

/// Whether the kernel takes the shape and is compiled for the device.
bool is_warpgroup_conv(const WarpgroupConv& conv);

/// Whether the kernel takes a norm by its sums: one of 4x4 maps, whose groups have 8, 16 or 32
/// channels, whose tensors are 16-byte aligned, without time_embedding.
bool takes_norm_from_sums(const WarpgroupConv& conv, const NormFromSums& norm);

/// out = conv3x3(silu(a x + b)) + conv1x1(side) + bias + more_bias + residual, summed in float32
/// and rounded once.
cudaError_t conv2d_warpgroup(const WarpgroupConv& conv, const WarpgroupConvTensors& tensors,
                             cudaStream_t stream);

inline constexpr int kPartsOfFour = 2;  ///< Of a 4x4 map: its columns left and right.

/// Parts of an image, of which conv2d_warpgroup() leaves the sums.
int conv2d_warpgroup_parts(const WarpgroupConv& conv);

/// Whether the device has the kernel at all.
bool device_has_warpgroup_conv();

}  // namespace ddpm::cuda
