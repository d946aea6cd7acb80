#include "ddpm/kernels/adam_ema.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <vector>

#include "ddpm/core/check.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/fused_adam_ema.h"
#endif

namespace ddpm {
namespace {

// On a CPU the weights pass in pieces that stay in the cache from one operation to the next.
constexpr int64_t kCpuPiece = 1 << 17;

int64_t piece_size(const Tensor& master) {
  return std::max<int64_t>(1, master.is_cpu() ? kCpuPiece : master.numel());
}

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
Tensor gradient_norm(const Tensor& grad, int64_t piece) {
  std::vector<Tensor> norms;
  for (const Tensor& part : grad.split(piece)) {
    norms.push_back(at::linalg_vector_norm(part, /*ord=*/2, /*dim=*/at::OptionalIntArrayRef(),
                                           /*keepdim=*/false, at::kDouble));
  }
  return at::linalg_vector_norm(at::stack(norms));
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

/// A piece of all that a step reads and writes; views.
struct Piece {
  Tensor master, grad, m, v, ema, weights;
};

/// Takes `value` in, unless the step is skipped.
void take_in(const Tensor& finite, const Tensor& value, Tensor& target) {
  at::where_out(target, finite, value, target);
}

void update_piece(const AdamEmaOptions& options, const StepScalars& scalars, Piece piece) {
  Tensor grad = piece.grad.to(at::kFloat) * scalars.clip;
  Tensor master = piece.master;
  if (options.weight_decay != 0.0) {
    if (options.decoupled_weight_decay) {
      master = master * scalars.weight_factor;
    } else {
      grad.add_(master, options.weight_decay);
    }
  }
  const Tensor m = at::lerp(piece.m, grad, 1 - options.beta1);
  const Tensor v = (piece.v * options.beta2).addcmul_(grad, grad, 1 - options.beta2);
  const Tensor denominator = v.sqrt().div_(scalars.sqrt_bias2).add_(options.eps);
  master = master - (m / denominator).mul_(scalars.step_size);

  take_in(scalars.finite, m, piece.m);
  take_in(scalars.finite, v, piece.v);
  take_in(scalars.finite, at::lerp(piece.ema, master, scalars.one_minus_ema), piece.ema);
  take_in(scalars.finite, master, piece.master);
  if (piece.weights.defined()) piece.weights.copy_(piece.master);
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
  const int64_t size = master.numel();
  const int64_t piece = piece_size(master);
  const Tensor norm = gradient_norm(grad, piece);
  Tensor finite = at::isfinite(norm);
  if (loss.defined()) finite = finite.logical_and(at::isfinite(loss.reshape({})));
  const StepScalars scalars = begin_step(options, state, norm, finite);
  for (int64_t begin = 0; begin < size; begin += piece) {
    const auto part = [&](const Tensor& flat) {
      return flat.defined() ? flat.narrow(/*dim=*/0, begin, std::min(piece, size - begin)) : flat;
    };
    update_piece(options, scalars,
                 {.master = part(master.detach()),
                  .grad = part(grad),
                  .m = part(state.m),
                  .v = part(state.v),
                  .ema = part(state.ema),
                  .weights = part(weights)});
  }
  return norm.to(at::kFloat);
}

}  // namespace ddpm
