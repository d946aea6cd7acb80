#include "ddpm/model/cbam.h"

#include <ATen/ATen.h>

namespace ddpm {

CbamImpl::CbamImpl(int64_t channels, int64_t inner_channels) {
  const Conv2dImpl::Options pointwise{.kernel = 1, .padding = 0};
  const auto channel_attn = add_list(*this, "channel_attn");
  reduce_ = channel_attn->register_module("1", Conv2d(channels, inner_channels, pointwise));
  expand_ = channel_attn->register_module("3", Conv2d(inner_channels, channels, pointwise));
  spatial_ = add_list(*this, "spatial_attn")
                 ->register_module("0", Conv2d(/*in_channels=*/2, /*out_channels=*/1,
                                               Conv2dImpl::Options{.kernel = 7, .padding = 3}));
}

Tensor CbamImpl::forward(const Tensor& x, const Tensor& /*coarser*/) {
  const Tensor squeezed = x.mean({2, 3}, /*keepdim=*/true);
  const Tensor h = x * at::sigmoid(expand_->forward(at::relu(reduce_->forward(squeezed))));
  const Tensor summary = at::cat({h.mean({1}, /*keepdim=*/true), h.amax({1}, /*keepdim=*/true)},
                                 /*dim=*/1);
  return h * at::sigmoid(spatial_->forward(summary));
}

}  // namespace ddpm
