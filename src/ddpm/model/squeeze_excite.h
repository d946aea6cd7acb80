#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"
#include "ddpm/model/gate.h"
#include "ddpm/model/layers.h"

namespace ddpm {

/// One weight a channel, from the channels' means [Squeeze-and-Excitation, Eq. 2-4]:
///
///     y = x * sigmoid(fc2(relu(fc1(mean over H and W of x))))
///
/// Names: fc1, fc2.
class SqueezeExciteImpl : public GateImpl {
 public:
  SqueezeExciteImpl(int64_t channels, int64_t inner_channels);
  Tensor forward(const Tensor& x, const Tensor& coarser) override;

 private:
  Linear fc1_{nullptr}, fc2_{nullptr};
};
TORCH_MODULE(SqueezeExcite);

}  // namespace ddpm
