#pragma once

#include <torch/nn/module.h>

#include <cstdint>
#include <memory>

#include "ddpm/config/simple_unet_config.h"
#include "ddpm/core/tensor.h"

namespace ddpm {

/// A module that weighs a map: y = x * weights, each between 0 and 1.
class GateImpl : public torch::nn::Module {
 public:
  /// @param x       [N, C, H, W], channels_last avoids a copy.
  /// @param coarser [N, C', H / 2, W / 2], what an attention gate listens to; the other gates look
  ///                at x alone and take an undefined tensor.
  /// @return        like x, channels_last.
  virtual Tensor forward(const Tensor& x, const Tensor& coarser) = 0;
};

struct GateOptions {
  GateKind kind = GateKind::kNone;
  int64_t channels = 0;          ///< of x.
  int64_t coarser_channels = 0;  ///< of an attention gate's second map.
  int64_t reduction = 0;         ///< channels over those inside the gate; 0: the papers' 16, or 2.
};

/// @throws std::invalid_argument if reduction does not divide channels; std::logic_error for kNone.
std::shared_ptr<GateImpl> make_gate(const GateOptions& options);

}  // namespace ddpm
