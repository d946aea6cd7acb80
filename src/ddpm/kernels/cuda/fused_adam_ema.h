#pragma once

#include "ddpm/kernels/adam_ema.h"

namespace ddpm::cuda {

/// adam_ema_step for weights on a GPU; arguments as checked there.
Tensor fused_adam_ema_step(const AdamEmaOptions& options, AdamEmaState& state, const Tensor& master,
                           const Tensor& grad, const Tensor& loss, const Tensor& weights);

}  // namespace ddpm::cuda
