#include "ddpm/model/resample.h"

#include <ATen/ATen.h>

#include "ddpm/kernels/upsample.h"

namespace ddpm {
namespace {

/// [n, 2 n]: a row of n pixels times it is a row of 2 n pixels between them.
Tensor doubling_matrix(int64_t n, const at::TensorOptions& options) {
  const Tensor rows = at::eye(n, options).unsqueeze(0);
  return at::upsample_linear1d(rows, {2 * n}, /*align_corners=*/false).squeeze(0);
}

}  // namespace

Tensor upsample_nearest(const Tensor& x) { return upsample_nearest_2x(x); }

// LibTorch's own has a backward on a GPU whose sums come in any order.
Tensor upsample_bilinear(const Tensor& x) {
  const Tensor wide = at::matmul(x, doubling_matrix(x.size(3), x.options()));
  const Tensor tall = at::matmul(wide.transpose(2, 3), doubling_matrix(x.size(2), x.options()));
  return tall.transpose(2, 3).contiguous(at::MemoryFormat::ChannelsLast);
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

MapFork DownsampleImpl::forward_fork(const Tensor& x) {
  if (padding_ != 0) return {.y = conv_->forward(x), .x = x};
  const Conv2dFork padded = conv_->forward_padded_fork(x);
  return {.y = padded.y, .x = padded.x};
}

UpsampleImpl::UpsampleImpl(int64_t channels, WeightInit weight_init) {
  conv_ = register_module(
      "conv", Conv2d(channels, channels,
                     Conv2dImpl::Options{.upsampled = true, .init = plain_init(weight_init)}));
}

Tensor UpsampleImpl::forward(const Tensor& x) { return conv_->forward(x); }

}  // namespace ddpm
