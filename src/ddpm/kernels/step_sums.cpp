#include "ddpm/kernels/step_sums.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/step_sums_function.h"
#endif

namespace ddpm {
namespace {

void add_where(const Tensor& sum, const Tensor& counts, const Tensor& value) {
  sum.add_(at::where(counts, value.to(sum.scalar_type()), at::zeros_like(sum)));
}

void clear_losses(StepLosses& step) {
  step.loss.zero_();
  step.quarter_loss_sum.zero_();
  step.quarter_images.zero_();
  if (step.correct.defined()) step.correct.zero_();
}

}  // namespace

StepStatistics make_step_statistics(at::Device device, bool classifies) {
  const auto number = at::TensorOptions(at::kDouble).device(device);
  return {.quarter_loss_sum = at::zeros({kTimestepQuarters}, number),
          .quarter_images = at::zeros({kTimestepQuarters}, number),
          .loss_sum = at::zeros({}, number),
          .grad_norm_sum = at::zeros({}, number),
          .steps = at::zeros({}, number),
          .longest_nonfinite_row = at::zeros({}, number.dtype(at::kLong)),
          .last_nonfinite = at::zeros({3}, number),
          .correct = classifies ? at::zeros({}, number) : Tensor()};
}

StepLosses make_step_losses(at::Device device, bool classifies) {
  const auto number = at::TensorOptions(at::kDouble).device(device);
  return {.loss = at::zeros({}, number.dtype(at::kFloat)),
          .quarter_loss_sum = at::zeros({kTimestepQuarters}, number),
          .quarter_images = at::zeros({kTimestepQuarters}, number),
          .correct = classifies ? at::zeros({}, number) : Tensor()};
}

void add_losses(StepLosses& step, const MicroBatchLosses& losses, const WholeBatch& batch,
                bool is_first) {
  check_arg(losses.objective.dim() == 1 && losses.plain.sizes() == losses.objective.sizes() &&
                losses.t.sizes() == losses.objective.sizes() &&
                losses.correct.defined() == step.correct.defined(),
            "[add_losses] objective, plain and t must be [n], with correct for a classifier alone: "
            "expected ",
            losses.objective.sizes(), ", got ", losses.plain.sizes(), " and ", losses.t.sizes());
#ifdef DDPM_CUDA
  if (step.loss.is_cuda()) return cuda::fused_add_losses(step, losses, batch, is_first);
#endif
  if (is_first) clear_losses(step);
  step.loss.add_(losses.objective.sum() / batch.size);
  const Tensor quarter = at::floor_divide(losses.t * kTimestepQuarters, batch.num_timesteps);
  const Tensor quarters = at::arange(kTimestepQuarters, losses.t.options());
  const Tensor in_quarter = quarter.unsqueeze(0) == quarters.unsqueeze(1);  // [4, n]
  const Tensor values = losses.plain.to(at::kDouble).unsqueeze(0).expand_as(in_quarter);
  step.quarter_loss_sum.add_(at::where(in_quarter, values, at::zeros_like(values)).sum(/*dim=*/1));
  step.quarter_images.add_(in_quarter.sum(/*dim=*/1));
  if (step.correct.defined()) step.correct.add_(losses.correct.sum());
}

void add_step(StepStatistics& statistics, const StepLosses& losses, const Tensor& step,
              const Tensor& grad_norm, const Tensor& nonfinite_in_a_row) {
#ifdef DDPM_CUDA
  if (statistics.steps.is_cuda()) {
    return cuda::fused_add_step(statistics, losses, step, grad_norm, nonfinite_in_a_row);
  }
#endif
  const Tensor counts = nonfinite_in_a_row == 0;
  add_where(statistics.quarter_loss_sum, counts, losses.quarter_loss_sum);
  add_where(statistics.quarter_images, counts, losses.quarter_images);
  add_where(statistics.loss_sum, counts, losses.loss);
  add_where(statistics.grad_norm_sum, counts, grad_norm);
  if (statistics.correct.defined()) add_where(statistics.correct, counts, losses.correct);
  statistics.steps.add_(counts);
  at::maximum_out(statistics.longest_nonfinite_row, statistics.longest_nonfinite_row,
                  nonfinite_in_a_row);
  const Tensor now =
      at::stack({step.to(at::kDouble), losses.loss.to(at::kDouble), grad_norm.to(at::kDouble)});
  statistics.last_nonfinite.copy_(at::where(counts, statistics.last_nonfinite, now));
}

}  // namespace ddpm
