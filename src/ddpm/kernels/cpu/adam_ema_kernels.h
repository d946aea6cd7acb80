#pragma once

#include <cstdint>

namespace ddpm::cpu {

/// What the optimizer reads and writes, flat.
struct AdamEmaArrays {
  float* master = nullptr;
  const void* grad = nullptr;  ///< float32, or bfloat16.
  bool grad_is_bf16 = false;
  float* m = nullptr;
  float* v = nullptr;
  float* ema = nullptr;
  uint16_t* weights = nullptr;  ///< bfloat16, or null.
};

/// The numbers of a step; see adam_ema.h.
struct AdamEmaNumbers {
  bool finite = true;  ///< false: nothing is taken in.
  bool decoupled_weight_decay = false;
  float weight_decay = 0;
  float beta2 = 0;
  float one_minus_beta1 = 0;
  float one_minus_beta2 = 0;
  float eps = 0;
  float clip = 1;           ///< min(1, max_grad_norm / norm)
  float step_size = 0;      ///< lr / (1 - beta1^step)
  float sqrt_bias2 = 1;     ///< sqrt(1 - beta2^step)
  float weight_factor = 1;  ///< 1 - lr * weight_decay
  float one_minus_ema = 0;  ///< 1 - ema_decay
};

/// The sum of squares of grad[begin] to grad[end - 1].
double sum_of_squares(const void* grad, bool is_bf16, int64_t begin, int64_t end);

/// The optimizer step of elements begin to end - 1, in one pass. Elements stand alone: any split of
/// them gives the same bits.
void adam_ema_update(const AdamEmaArrays& arrays, const AdamEmaNumbers& numbers, int64_t begin,
                     int64_t end);

}  // namespace ddpm::cpu
