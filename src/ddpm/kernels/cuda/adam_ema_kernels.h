#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// adam_ema_step's constants (kernels/adam_ema.h).
struct AdamEmaConstants {
  bool decoupled_weight_decay = false;
  double beta1 = 0;
  double beta2 = 0;
  double eps = 0;
  double weight_decay = 0;
  double max_grad_norm = 0;
};

/// What adam_ema_step reads and writes, all on the device.
struct AdamEmaBuffers {
  int64_t size = 0;            ///< Weights.
  const void* grad = nullptr;  ///< [size] float32, or bfloat16 with grad_is_bf16.
  bool grad_is_bf16 = false;
  const float* loss = nullptr;  ///< One number; null: the norm alone is checked.
  float* master = nullptr;      ///< [size], as m, v and ema.
  float* m = nullptr;
  float* v = nullptr;
  float* ema = nullptr;
  void* weights = nullptr;  ///< [size] bfloat16, or null.
  int64_t* step = nullptr;  ///< One number each, from here on.
  const double* lr = nullptr;
  const double* ema_decay = nullptr;
  int64_t* nonfinite_total = nullptr;
  int64_t* nonfinite_in_a_row = nullptr;
  float* norm = nullptr;      ///< Written: the gradient's norm before clipping.
  double* scratch = nullptr;  ///< [kAdamEmaScratch]
};

inline constexpr int kAdamEmaScratch = 1024 + 8;

/// One optimizer step: squares of the gradient, the step's scalars, and one pass that reads and
/// writes every weight once; a last launch rounds bfloat16 weights where the step was skipped.
/// Deterministic; nothing comes back to the host.
///
/// @return what the launches answered.
cudaError_t adam_ema_step(const AdamEmaConstants& constants, const AdamEmaBuffers& buffers,
                          cudaStream_t stream);

}  // namespace ddpm::cuda
