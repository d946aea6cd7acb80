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

DownsampleImpl::DownsampleImpl(int64_t channels, int64_t padding, WeightInit weight_init)
    : padding_(padding) {
  const Conv2dImpl::Options options{
      .stride = 2, .padding = padding, .init = plain_init(weight_init)};
  conv_ = register_module("conv", Conv2d(channels, channels, options));
}

Tensor DownsampleImpl::forward(const Tensor& x) {
  return conv_->forward(padding_ == 0 ? at::constant_pad_nd(x, {0, 1, 0, 1}) : x);
}

UpsampleImpl::UpsampleImpl(int64_t channels, WeightInit weight_init) {
  conv_ = register_module(
      "conv", Conv2d(channels, channels, Conv2dImpl::Options{.init = plain_init(weight_init)}));
}

Tensor UpsampleImpl::forward(const Tensor& x) { return conv_->forward(upsample_nearest(x)); }

}  // namespace ddpm
