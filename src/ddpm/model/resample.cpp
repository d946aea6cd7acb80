#include "ddpm/model/resample.h"

#include <ATen/ATen.h>

namespace ddpm {

Tensor upsample_nearest(const Tensor& x) {
  return at::upsample_nearest2d(x, {2 * x.size(2), 2 * x.size(3)})
      .contiguous(at::MemoryFormat::ChannelsLast);
}

Tensor downsample_mean(const Tensor& x) {
  return at::avg_pool2d(x, /*kernel_size=*/{2, 2}).contiguous(at::MemoryFormat::ChannelsLast);
}

DownsampleImpl::DownsampleImpl(int64_t channels, int64_t padding) : padding_(padding) {
  conv_ = register_module(
      "conv", Conv2d(channels, channels, Conv2dImpl::Options{.stride = 2, .padding = padding}));
}

Tensor DownsampleImpl::forward(const Tensor& x) {
  return conv_->forward(padding_ == 0 ? at::constant_pad_nd(x, {0, 1, 0, 1}) : x);
}

UpsampleImpl::UpsampleImpl(int64_t channels) {
  conv_ = register_module("conv", Conv2d(channels, channels));
}

Tensor UpsampleImpl::forward(const Tensor& x) { return conv_->forward(upsample_nearest(x)); }

}  // namespace ddpm
