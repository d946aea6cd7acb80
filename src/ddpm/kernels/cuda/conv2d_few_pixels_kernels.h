#pragma once

#include <cuda_runtime_api.h>

#include "ddpm/kernels/cuda/bias_residual_kernels.h"

namespace ddpm::cuda {

/// A convolution of maps [images, height, width, channels] (NHWC) of bfloat16 with a weight
/// [out_channels, kernel, kernel, channels].
struct ConvMaps {
  int images = 0;
  int height = 0;
  int width = 0;
  int channels = 0;
  int out_channels = 0;
  int kernel = 0;
  int stride = 1;
  int padding = 0;
  int out_height = 0;
  int out_width = 0;
};

/// A convolution of single pixels, of maps as large as the result, that is added to it.
struct ConvShortcut {
  const void* x = nullptr;       ///< [images, out_height, out_width, channels]; null: none.
  const void* x_rest = nullptr;  ///< The channels behind x's: rest_channels.
  const void* weight = nullptr;  ///< [out_channels, channels + rest_channels]
  int channels = 0;              ///< Multiples of 8.
  int rest_channels = 0;
};

/// True if so few pixels and channels come out that a device with clusters is not filled unless the
/// sums are split, too; the numbers of channels must be multiples of 16 and of 32.
bool conv2d_has_few_pixels(const ConvMaps& maps, const ConvShortcut& shortcut = {});

/// y = conv(x, weight) + shortcut + bias + residual + residual_bias [images, out_height, out_width,
/// out_channels]: blocks of a cluster take parts of each sum, which one adds up in order.
cudaError_t conv2d_few_pixels(const ConvMaps& maps, const void* x, const void* weight,
                              const ConvShortcut& shortcut, const MapAddends& addends, void* y,
                              cudaStream_t stream);

}  // namespace ddpm::cuda
