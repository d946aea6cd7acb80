#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"
#include "ddpm/model/gate.h"
#include "ddpm/model/layers.h"

namespace ddpm {

/// One weight a pixel of a skip, from what the next coarser level found [Attention U-Net, Eq. 1-2]:
///
///     alpha = sigmoid(psi(relu(w_x(x) + w_g(coarser))));  y = x * upsample(alpha)
///
/// w_x is a 2x2 convolution of stride 2 without bias, which brings x to the side of `coarser`; w_g
/// and psi are 1x1 convolutions; upsample is bilinear. Names: w_x, w_g, psi.
class AttentionGateImpl : public GateImpl {
 public:
  AttentionGateImpl(int64_t channels, int64_t coarser_channels, int64_t inner_channels);
  Tensor forward(const Tensor& x, const Tensor& coarser) override;

 private:
  Conv2d w_x_{nullptr}, w_g_{nullptr}, psi_{nullptr};
};
TORCH_MODULE(AttentionGate);

}  // namespace ddpm
