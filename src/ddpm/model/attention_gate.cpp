#include "ddpm/model/attention_gate.h"

#include <ATen/ATen.h>

#include "ddpm/model/resample.h"

namespace ddpm {

AttentionGateImpl::AttentionGateImpl(int64_t channels, int64_t coarser_channels,
                                     int64_t inner_channels) {
  const Conv2dImpl::Options halving{.kernel = 2, .stride = 2, .padding = 0, .bias = false};
  const Conv2dImpl::Options pointwise{.kernel = 1, .padding = 0};
  w_x_ = register_module("w_x", Conv2d(channels, inner_channels, halving));
  w_g_ = register_module("w_g", Conv2d(coarser_channels, inner_channels, pointwise));
  psi_ = register_module("psi", Conv2d(inner_channels, /*out_channels=*/1, pointwise));
}

Tensor AttentionGateImpl::forward(const Tensor& x, const Tensor& coarser) {
  const Tensor sum = at::relu(w_x_->forward(x) + w_g_->forward(coarser));
  return x * upsample_bilinear(at::sigmoid(psi_->forward(sum)));
}

}  // namespace ddpm
