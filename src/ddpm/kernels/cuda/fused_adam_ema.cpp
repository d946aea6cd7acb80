#include "ddpm/kernels/cuda/fused_adam_ema.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "ddpm/kernels/cuda/adam_ema_kernels.h"

namespace ddpm::cuda {

Tensor fused_adam_ema_step(const AdamEmaOptions& options, AdamEmaState& state, const Tensor& master,
                           const Tensor& grad, const Tensor& loss, const Tensor& weights) {
  const c10::cuda::CUDAGuard guard(master.device());
  const Tensor loss_value = loss.defined() ? loss.detach().to(at::kFloat) : Tensor();
  const Tensor norm = at::empty({}, master.options());
  const Tensor scratch = at::empty({kAdamEmaScratch}, master.options().dtype(at::kDouble));
  const AdamEmaBuffers buffers{
      .size = master.numel(),
      .grad = grad.const_data_ptr(),
      .grad_is_bf16 = grad.scalar_type() == at::kBFloat16,
      .loss = loss.defined() ? loss_value.const_data_ptr<float>() : nullptr,
      .master = master.detach().mutable_data_ptr<float>(),
      .m = state.m.mutable_data_ptr<float>(),
      .v = state.v.mutable_data_ptr<float>(),
      .ema = state.ema.mutable_data_ptr<float>(),
      .weights = weights.defined() ? weights.detach().mutable_data_ptr() : nullptr,
      .step = state.step.mutable_data_ptr<int64_t>(),
      .lr = state.lr.const_data_ptr<double>(),
      .ema_decay = state.ema_decay.const_data_ptr<double>(),
      .nonfinite_total = state.nonfinite_total.mutable_data_ptr<int64_t>(),
      .nonfinite_in_a_row = state.nonfinite_in_a_row.mutable_data_ptr<int64_t>(),
      .norm = norm.mutable_data_ptr<float>(),
      .scratch = scratch.mutable_data_ptr<double>()};
  C10_CUDA_CHECK(adam_ema_step({.decoupled_weight_decay = options.decoupled_weight_decay,
                                .beta1 = options.beta1,
                                .beta2 = options.beta2,
                                .eps = options.eps,
                                .weight_decay = options.weight_decay,
                                .max_grad_norm = options.max_grad_norm},
                               buffers, c10::cuda::getCurrentCUDAStream()));
  return norm;
}

}  // namespace ddpm::cuda
