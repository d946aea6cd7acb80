#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/model/layers.h"

namespace ddpm {

/// Doubles both sides of a map by repeating pixels. @return channels_last.
Tensor upsample_nearest(const Tensor& x);

/// Doubles both sides of a map by bilinear interpolation between the centres of pixels.
/// @return channels_last.
Tensor upsample_bilinear(const Tensor& x);

/// Halves both sides of a map by the mean of 2 x 2 pixels. @return channels_last.
Tensor downsample_mean(const Tensor& x);

/// A 3x3 convolution of stride 2; name conv.
class DownsampleImpl : public torch::nn::Module {
 public:
  /// @param padding 1: on all sides; 0: on the right and at the bottom only.
  DownsampleImpl(int64_t channels, int64_t padding, WeightInit weight_init);
  MapFork forward_fork(const Tensor& x);

 private:
  int64_t padding_;
  Conv2d conv_{nullptr};
};
TORCH_MODULE(Downsample);

/// upsample_nearest, then a 3x3 convolution; name conv.
class UpsampleImpl : public torch::nn::Module {
 public:
  UpsampleImpl(int64_t channels, WeightInit weight_init);
  Tensor forward(const Tensor& x);

 private:
  Conv2d conv_{nullptr};
};
TORCH_MODULE(Upsample);

}  // namespace ddpm
