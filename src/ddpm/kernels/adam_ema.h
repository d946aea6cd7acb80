#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Constants of the optimizer. The learning rate and the EMA's decay change and stand in the state.
struct AdamEmaOptions {
  bool decoupled_weight_decay = false;  ///< true: AdamW; false: Adam, decay added to the gradient.
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;
  double max_grad_norm = 0.0;  ///< gradients are scaled down to this norm; 0: never.
};

/// The optimizer over n weights held flat. All tensors live on the weights' device, are changed in
/// place and keep their storage, so that the whole step can be captured in a graph.
struct AdamEmaState {
  Tensor m;                   ///< [n] float32, first moment.
  Tensor v;                   ///< [n] float32, second moment.
  Tensor ema;                 ///< [n] float32, moving average of the weights.
  Tensor step;                ///< [] int64, optimizer steps taken; a skipped one does not count.
  Tensor lr;                  ///< [] float64, the caller sets it before each step.
  Tensor ema_decay;           ///< [] float64, the caller sets it before each step.
  Tensor nonfinite_total;     ///< [] int64, steps skipped because loss or gradient were not finite.
  Tensor nonfinite_in_a_row;  ///< [] int64, of these, the ones since the last good step.
};

/// Moments and counters of 0, lr 0, ema_decay 0, and an EMA that equals `master`.
/// @param master [n] float32.
AdamEmaState make_adam_ema_state(const Tensor& master);

/// One optimizer step over flat storage, without host synchronisation:
///
///     norm = |grad|;  g = grad * min(1, max_grad_norm / (norm + 1e-6))
///     m = beta1 m + (1 - beta1) g;  v = beta2 v + (1 - beta2) g^2;  step = step + 1
///     master = master - lr * (m / (1 - beta1^step)) / (sqrt(v / (1 - beta2^step)) + eps)
///     ema = ema_decay * ema + (1 - ema_decay) * master;  weights = bf16(master)
///
/// with weight decay as torch.optim.Adam or AdamW apply it. Where the loss or the norm is not
/// finite nothing is taken in: all values stay bit for bit, but for the two counters.
///
/// @param master  [n] float32, the weights.
/// @param grad    [n] float32 or bfloat16; kept as it is.
/// @param loss    [] or [1] float; may be undefined: the norm alone is checked.
/// @param weights [n] bfloat16, receives the rounded master; may be undefined.
/// @return        [] float32, the gradient's norm before clipping.
/// @throws std::invalid_argument if a shape or dtype is not as above.
Tensor adam_ema_step(const AdamEmaOptions& options, AdamEmaState& state, const Tensor& master,
                     const Tensor& grad, const Tensor& loss, const Tensor& weights);

}  // namespace ddpm
