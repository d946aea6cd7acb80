#include "ddpm/kernels/adam_ema.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <numeric>
#include <vector>

#include "ddpm/core/check.h"
#include "ddpm/kernels/cpu/adam_ema_kernels.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/fused_adam_ema.h"
#endif

namespace ddpm {
namespace {

// Gradients whose squares are one sum of the norm, whatever the number of threads.
constexpr int64_t kNormPiece = 1 << 16;
// Fewer weights are not worth waking a thread for.
constexpr int64_t kWeightsPerThread = 1 << 14;

void check_flat(const char* name, const Tensor& values, int64_t size, at::ScalarType dtype) {
  check_arg(values.dim() == 1 && values.size(0) == size && values.is_contiguous() &&
                values.scalar_type() == dtype,
            "[adam_ema_step] ", name, " has a wrong shape or dtype: expected [", size, "] ", dtype,
            ", got ", values.sizes(), " ", values.scalar_type());
}

void check_adam_ema_args(const AdamEmaState& state, const Tensor& master, const Tensor& grad,
                         const Tensor& loss, const Tensor& weights) {
  const int64_t size = master.numel();
  check_flat("master", master, size, at::kFloat);
  check_flat("grad", grad, size, grad.scalar_type() == at::kBFloat16 ? at::kBFloat16 : at::kFloat);
  check_flat("m", state.m, size, at::kFloat);
  check_flat("v", state.v, size, at::kFloat);
  check_flat("ema", state.ema, size, at::kFloat);
  if (weights.defined()) check_flat("weights", weights, size, at::kBFloat16);
  check_arg(!loss.defined() || loss.numel() == 1,
            "[adam_ema_step] loss must be one number: expected [] or [1], got ", loss.sizes());
}

/// In float64: a float32 sum of squares over tens of millions of weights would lose four digits.
Tensor gradient_norm(const Tensor& grad) {
  const int64_t size = grad.numel();
  const int64_t pieces = (size + kNormPiece - 1) / kNormPiece;
  std::vector<double> sums(static_cast<size_t>(pieces));
  const bool is_bf16 = grad.scalar_type() == at::kBFloat16;
  const void* const values = grad.const_data_ptr();
  at::parallel_for(0, pieces, /*grain_size=*/1, [&](int64_t begin, int64_t end) {
    for (int64_t piece = begin; piece < end; ++piece) {
      sums[static_cast<size_t>(piece)] = cpu::sum_of_squares(
          values, is_bf16, piece * kNormPiece, std::min(size, (piece + 1) * kNormPiece));
    }
  });
  return at::scalar_tensor(std::sqrt(std::accumulate(sums.begin(), sums.end(), 0.0)), at::kDouble);
}

/// What a step multiplies by; [] float32 on the device.
struct StepScalars {
  Tensor finite;         ///< [] bool
  Tensor clip;           ///< min(1, max_grad_norm / norm)
  Tensor step_size;      ///< lr / (1 - beta1^step)
  Tensor sqrt_bias2;     ///< sqrt(1 - beta2^step)
  Tensor weight_factor;  ///< 1 - lr * weight_decay
  Tensor one_minus_ema;  ///< 1 - ema_decay
};

/// Moves the counters, and computes in float64 what the step needs.
StepScalars begin_step(const AdamEmaOptions& options, AdamEmaState& state, const Tensor& norm,
                       const Tensor& finite) {
  state.step.add_(finite);
  const Tensor skipped = finite.logical_not();
  state.nonfinite_total.add_(skipped);
  state.nonfinite_in_a_row.add_(1).mul_(skipped);

  const Tensor step = state.step.to(at::kDouble);
  const Tensor clip = options.max_grad_norm > 0.0
                          ? (options.max_grad_norm / (norm + 1e-6)).clamp_max(1.0)
                          : at::ones_like(norm);
  const Tensor step_size = state.lr / (1 - at::pow(options.beta1, step));
  const Tensor sqrt_bias2 = (1 - at::pow(options.beta2, step)).sqrt();
  return {.finite = finite,
          .clip = clip.to(at::kFloat),
          .step_size = step_size.to(at::kFloat),
          .sqrt_bias2 = sqrt_bias2.to(at::kFloat),
          .weight_factor = (1 - state.lr * options.weight_decay).to(at::kFloat),
          .one_minus_ema = (1 - state.ema_decay).to(at::kFloat)};
}

cpu::AdamEmaNumbers numbers_of(const AdamEmaOptions& options, const StepScalars& scalars) {
  const auto value = [](const Tensor& scalar) { return *scalar.const_data_ptr<float>(); };
  return {.finite = *scalars.finite.const_data_ptr<bool>(),
          .decoupled_weight_decay = options.decoupled_weight_decay,
          .weight_decay = static_cast<float>(options.weight_decay),
          .beta2 = static_cast<float>(options.beta2),
          .one_minus_beta1 = static_cast<float>(1 - options.beta1),
          .one_minus_beta2 = static_cast<float>(1 - options.beta2),
          .eps = static_cast<float>(options.eps),
          .clip = value(scalars.clip),
          .step_size = value(scalars.step_size),
          .sqrt_bias2 = value(scalars.sqrt_bias2),
          .weight_factor = value(scalars.weight_factor),
          .one_minus_ema = value(scalars.one_minus_ema)};
}

cpu::AdamEmaArrays arrays_of(const AdamEmaState& state, const Tensor& master, const Tensor& grad,
                             const Tensor& weights) {
  cpu::AdamEmaArrays arrays{.master = master.mutable_data_ptr<float>(),
                            .grad = grad.const_data_ptr(),
                            .grad_is_bf16 = grad.scalar_type() == at::kBFloat16,
                            .m = state.m.mutable_data_ptr<float>(),
                            .v = state.v.mutable_data_ptr<float>(),
                            .ema = state.ema.mutable_data_ptr<float>()};
  if (weights.defined()) arrays.weights = static_cast<uint16_t*>(weights.mutable_data_ptr());
  return arrays;
}

}  // namespace

AdamEmaState make_adam_ema_state(const Tensor& master) {
  check_flat("master", master, master.numel(), at::kFloat);
  const auto counter = at::TensorOptions(at::kLong).device(master.device());
  const auto rate = at::TensorOptions(at::kDouble).device(master.device());
  return {.m = at::zeros_like(master),
          .v = at::zeros_like(master),
          .ema = master.detach().clone(),
          .step = at::zeros({}, counter),
          .lr = at::zeros({}, rate),
          .ema_decay = at::zeros({}, rate),
          .nonfinite_total = at::zeros({}, counter),
          .nonfinite_in_a_row = at::zeros({}, counter)};
}

Tensor adam_ema_step(const AdamEmaOptions& options, AdamEmaState& state, const Tensor& master,
                     const Tensor& grad, const Tensor& loss, const Tensor& weights) {
  check_adam_ema_args(state, master, grad, loss, weights);
  const at::NoGradGuard no_grad;
#ifdef DDPM_CUDA
  if (master.is_cuda()) {
    return cuda::fused_adam_ema_step(options, state, master, grad, loss, weights);
  }
#endif
  const Tensor norm = gradient_norm(grad);
  Tensor finite = at::isfinite(norm);
  if (loss.defined()) finite = finite.logical_and(at::isfinite(loss.reshape({})));
  const cpu::AdamEmaNumbers numbers = numbers_of(options, begin_step(options, state, norm, finite));
  const cpu::AdamEmaArrays arrays = arrays_of(state, master, grad, weights);
  at::parallel_for(0, master.numel(), kWeightsPerThread, [&](int64_t begin, int64_t end) {
    cpu::adam_ema_update(arrays, numbers, begin, end);
  });
  return norm.to(at::kFloat);
}

}  // namespace ddpm
