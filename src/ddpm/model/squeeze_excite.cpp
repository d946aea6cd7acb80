#include "ddpm/model/squeeze_excite.h"

#include <ATen/ATen.h>

namespace ddpm {

SqueezeExciteImpl::SqueezeExciteImpl(int64_t channels, int64_t inner_channels) {
  fc1_ = register_module("fc1", Linear(channels, inner_channels));
  fc2_ = register_module("fc2", Linear(inner_channels, channels));
}

Tensor SqueezeExciteImpl::forward(const Tensor& x, const Tensor& /*coarser*/) {
  const Tensor squeezed = x.mean({2, 3});
  const Tensor weights = at::sigmoid(fc2_->forward(at::relu(fc1_->forward(squeezed))));
  return x * weights.unsqueeze(2).unsqueeze(3);
}

}  // namespace ddpm
