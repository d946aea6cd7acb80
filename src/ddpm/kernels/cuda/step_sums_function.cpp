#include "ddpm/kernels/cuda/step_sums_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include "ddpm/kernels/cuda/step_sums_kernels.h"

namespace ddpm::cuda {
namespace {

static_assert(kQuarters == kTimestepQuarters);

template <typename T>
T* data_or_null(const Tensor& values) {
  return values.defined() ? values.mutable_data_ptr<T>() : nullptr;
}

StepLossBuffers step_loss_buffers(const StepLosses& step) {
  return {.loss = step.loss.mutable_data_ptr<float>(),
          .quarter_loss_sum = step.quarter_loss_sum.mutable_data_ptr<double>(),
          .quarter_images = step.quarter_images.mutable_data_ptr<double>(),
          .correct = data_or_null<double>(step.correct)};
}

}  // namespace

void fused_add_losses(StepLosses& step, const MicroBatchLosses& losses, const WholeBatch& batch,
                      bool is_first) {
  const c10::cuda::CUDAGuard guard(step.loss.device());
  const Tensor objective = losses.objective.contiguous();
  const Tensor plain = losses.plain.contiguous();
  const Tensor t = losses.t.contiguous();
  const Tensor correct = losses.correct.defined() ? losses.correct.contiguous() : Tensor();
  C10_CUDA_CHECK(
      add_losses({.images = objective.numel(),
                  .step_images = batch.size,
                  .num_timesteps = batch.num_timesteps,
                  .objective = objective.const_data_ptr<float>(),
                  .plain = plain.const_data_ptr<float>(),
                  .t = t.const_data_ptr<int64_t>(),
                  .correct = correct.defined() ? correct.const_data_ptr<bool>() : nullptr},
                 step_loss_buffers(step), is_first, c10::cuda::getCurrentCUDAStream()));
}

void fused_add_step(StepStatistics& statistics, const StepLosses& losses, const Tensor& step,
                    const Tensor& grad_norm, const Tensor& nonfinite_in_a_row) {
  const c10::cuda::CUDAGuard guard(statistics.steps.device());
  const StepStatisticsBuffers buffers{
      .quarter_loss_sum = statistics.quarter_loss_sum.mutable_data_ptr<double>(),
      .quarter_images = statistics.quarter_images.mutable_data_ptr<double>(),
      .loss_sum = statistics.loss_sum.mutable_data_ptr<double>(),
      .grad_norm_sum = statistics.grad_norm_sum.mutable_data_ptr<double>(),
      .steps = statistics.steps.mutable_data_ptr<double>(),
      .correct = data_or_null<double>(statistics.correct),
      .longest_nonfinite_row = statistics.longest_nonfinite_row.mutable_data_ptr<int64_t>(),
      .last_nonfinite = statistics.last_nonfinite.mutable_data_ptr<double>(),
      .step = step.const_data_ptr<int64_t>(),
      .grad_norm = grad_norm.const_data_ptr<float>(),
      .nonfinite_in_a_row = nonfinite_in_a_row.const_data_ptr<int64_t>()};
  C10_CUDA_CHECK(add_step(buffers, step_loss_buffers(losses), c10::cuda::getCurrentCUDAStream()));
}

}  // namespace ddpm::cuda
