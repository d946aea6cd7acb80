#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"
#include "ddpm/model/gate.h"
#include "ddpm/model/layers.h"

namespace ddpm {

/// The talk's CBAM: one weight a channel, then one a pixel. That of [CBAM, Eq. 2-3] has a branch of
/// maxima in the channel part too.
///
///     h = x * sigmoid(channel_attn.3(relu(channel_attn.1(mean over H and W of x))))
///     y = h * sigmoid(spatial_attn.0([mean, max over the channels of h]))
///
/// The first two are 1x1 convolutions, the last one is 7x7. Names as they stand.
class CbamImpl : public GateImpl {
 public:
  CbamImpl(int64_t channels, int64_t inner_channels);
  Tensor forward(const Tensor& x, const Tensor& coarser) override;

 private:
  Conv2d reduce_{nullptr}, expand_{nullptr}, spatial_{nullptr};
};
TORCH_MODULE(Cbam);

}  // namespace ddpm
