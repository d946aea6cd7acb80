#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// A 3x3 convolution of stride 1 and padding 1 over maps in bf16, channels last, at an end of a
/// network: where pixels come in or go out.
struct FewChannelsConv {
  int images = 0;
  int height = 0, width = 0;
  int channels = 0;
  int out_channels = 0;
  bool turned = false;  ///< It is the gradient of x of a convolution, given that of the result; of
                        ///< pixels alone.
};

/// Null pointers take no part. All but norm and sums are bf16.
struct FewChannelsTensors {
  const void* x = nullptr;       ///< [images, height, width, channels]
  const float* norm = nullptr;   ///< [images, channels, 2] a and b: silu(a x + b) comes in.
  const void* weight = nullptr;  ///< [out_channels, 3, 3, channels]; turned: [channels, 3, 3,
                                 ///< out_channels], the convolution's own.
  const void* bias = nullptr;    ///< [out_channels]
  void* out = nullptr;           ///< [images, height, width, out_channels]
  float* sums = nullptr;         ///< As of WarpgroupConvTensors.
};

/// Whether conv2d_of_pixels takes the shape: at most 3 channels come in, 128 or a multiple go out,
/// the pixels are a multiple of 64, at least four a row.
bool is_conv2d_of_pixels(const FewChannelsConv& conv);
/// out = conv3x3(x) + bias and its sums; without norm.
cudaError_t conv2d_of_pixels(const FewChannelsConv& conv, const FewChannelsTensors& tensors,
                             cudaStream_t stream);

/// Whether conv2d_to_pixels takes the shape: a multiple of 64 channels comes in, at most 128, at
/// most 8 go out, sides are multiples of 16.
bool is_conv2d_to_pixels(const FewChannelsConv& conv);
/// out = conv3x3(silu(a x + b)) + bias, without sums.
cudaError_t conv2d_to_pixels(const FewChannelsConv& conv, const FewChannelsTensors& tensors,
                             cudaStream_t stream);

/// The gradient of such a convolution's weight: of a map with many channels and one with few.
struct FewChannelsGradient {
  int images = 0;
  int height = 0, width = 0;
  int channels = 0;        ///< Of the map with few.
  int wide_channels = 0;   ///< Of the other.
  bool to_pixels = false;  ///< The wide map went into the convolution, the few channels came out.
};

/// Whether conv2d_few_channels_gradient takes the shape: at most 3 channels and 128 or a multiple,
/// the pixels are a multiple of 64, at least four a row.
bool is_conv2d_few_channels_gradient(const FewChannelsGradient& gradient);
/// Floats of scratch that it needs.
int64_t conv2d_few_channels_gradient_scratch(const FewChannelsGradient& gradient);
/// d_weight [wide_channels, 3, 3, channels], or [channels, 3, 3, wide_channels] to pixels, from the
/// gradient of the result and what went in. Deterministic.
///
/// @param few  [images, height, width, channels]
/// @param wide [images, height, width, wide_channels]
cudaError_t conv2d_few_channels_gradient(const FewChannelsGradient& gradient, const void* few,
                                         const void* wide, float* scratch, void* d_weight,
                                         cudaStream_t stream);

}  // namespace ddpm::cuda
