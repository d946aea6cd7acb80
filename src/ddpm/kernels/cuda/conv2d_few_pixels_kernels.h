#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "ddpm/kernels/cuda/bias_residual_kernels.h"

namespace ddpm::cuda {

/// A convolution of maps [images, height, width, channels] (NHWC) of bfloat16 with a weight
/// [out_channels, kernel, kernel, channels].
struct ConvMaps {
  int images = 0;
  int height = 0;  ///< With `upsampled` twice those of x, as width.
  int width = 0;
  int channels = 0;  ///< That go in, of x and x_rest.
  int out_channels = 0;
  int kernel = 0;
  int stride = 1;
  int padding = 0;
  int out_height = 0;
  int out_width = 0;
  int rest_channels = 0;   ///< The last channels, which stand in x_rest; a multiple of 8.
  bool upsampled = false;  ///< x comes in upsampled to the nearest pixel, without a norm.
};

/// A group norm, with SiLU or without, of what goes in, given sums of parts of it: parts are equal
/// numbers of pixels of an image, or whatever else an image's sums add up from.
struct ConvNorm {
  const float* sums = nullptr;       ///< [images, parts, channels of x, 2] values' and squares'.
  const float* rest_sums = nullptr;  ///< [images, rest_parts, rest_channels, 2]
  int parts = 0, rest_parts = 0;
  int groups = 0;  ///< Divides the channels; 0: no norm.
  float eps = 0;
  bool silu = true;
  const void* weight = nullptr;  ///< [channels], as bias.
  const void* bias = nullptr;
  const void* scale = nullptr;  ///< [images, channels], with shift; or null.
  const void* shift = nullptr;
  int64_t scale_stride = 0;  ///< From one image's row to the next, of scale and shift.
};

/// A convolution of single pixels, of maps as large as the result, that is added to it.
struct ConvShortcut {
  const void* x = nullptr;       ///< [images, out_height, out_width, channels]; null: none.
  const void* x_rest = nullptr;  ///< The channels behind x's: rest_channels.
  const void* weight = nullptr;  ///< [out_channels, channels + rest_channels]
  int channels = 0;              ///< Multiples of 8.
  int rest_channels = 0;
};

/// What a convolution reads and writes. Null pointers take no part.
struct ConvTensors {
  const void* x = nullptr;       ///< [images, height, width, channels - rest_channels]
  const void* x_rest = nullptr;  ///< [images, height, width, rest_channels]
  const void* weight = nullptr;
  ConvNorm norm;
  ConvShortcut shortcut;
  MapAddends addends;
  const void* image_bias = nullptr;  ///< [images, out_channels], added to each pixel.
  int64_t image_bias_stride = 0;     ///< From one image's row to the next.
  void* y = nullptr;                 ///< [images, out_height, out_width, out_channels]
  float* sums = nullptr;  ///< [images, parts, out_channels, 2]: of y, as a ConvNorm takes them.
};

/// True if so few pixels and channels come out that a device with clusters is not filled unless the
/// sums are split, too, or so few pixels of a kernel of 1. The numbers of channels must be
/// multiples of 16 and of 32; without a shortcut fewer than 32 may come out.
bool conv2d_has_few_pixels(const ConvMaps& maps, const ConvShortcut& shortcut = {});

/// Parts of an image whose sums conv2d_few_pixels() can leave; 0: it leaves none.
int conv2d_few_pixels_parts(const ConvMaps& maps, const ConvShortcut& shortcut = {});

/// y = conv(silu(norm(x)), weight) + shortcut + bias + image_bias + residual + residual_bias:
/// blocks of a cluster take parts of each sum, which one adds up in order.
cudaError_t conv2d_few_pixels(const ConvMaps& maps, const ConvTensors& tensors,
                              cudaStream_t stream);

}  // namespace ddpm::cuda
