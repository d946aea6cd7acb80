#include "ddpm/training/step_statistics.h"

#include <ATen/ATen.h>

#include <vector>

namespace ddpm {
namespace {

// NaN times 0 is NaN, so a skipped step is left out by selection.
void add_where(Tensor& sum, const Tensor& counts, const Tensor& value) {
  sum.add_(at::where(counts, value.to(sum.scalar_type()), at::zeros_like(sum)));
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

void clear_losses(StepLosses& step) {
  step.loss.zero_();
  step.quarter_loss_sum.zero_();
  step.quarter_images.zero_();
  if (step.correct.defined()) step.correct.zero_();
}

void add_losses(StepLosses& step, const Tensor& losses, const Tensor& t, int64_t num_timesteps) {
  const Tensor quarter = at::floor_divide(t * kTimestepQuarters, num_timesteps);
  const Tensor quarters = at::arange(kTimestepQuarters, t.options());
  const Tensor in_quarter = quarter.unsqueeze(0) == quarters.unsqueeze(1);  // [4, N]
  const Tensor values = losses.to(at::kDouble).unsqueeze(0).expand_as(in_quarter);
  step.quarter_loss_sum.add_(at::where(in_quarter, values, at::zeros_like(values)).sum(/*dim=*/1));
  step.quarter_images.add_(in_quarter.sum(/*dim=*/1));
}

void add_correct(StepLosses& step, const Tensor& correct) { step.correct.add_(correct.sum()); }

void add_step(StepStatistics& statistics, const StepLosses& losses, const Tensor& step,
              const Tensor& grad_norm, const Tensor& nonfinite_in_a_row) {
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

void clear_sums(StepStatistics& statistics) {
  statistics.quarter_loss_sum.zero_();
  statistics.quarter_images.zero_();
  statistics.loss_sum.zero_();
  statistics.grad_norm_sum.zero_();
  statistics.steps.zero_();
  if (statistics.correct.defined()) statistics.correct.zero_();
}

StepMeans read_means(const StepStatistics& statistics) {
  std::vector<Tensor> parts{(statistics.loss_sum / statistics.steps).reshape({1}),
                            (statistics.grad_norm_sum / statistics.steps).reshape({1}),
                            statistics.quarter_loss_sum / statistics.quarter_images};
  if (statistics.correct.defined()) {
    parts.push_back((statistics.correct / statistics.quarter_images.sum()).reshape({1}));
  }
  // One copy from the device: 0 / 0 is NaN, as it should be.
  const Tensor means = at::cat(parts).cpu();
  const auto* value = means.const_data_ptr<double>();
  StepMeans result{.loss = value[0], .grad_norm = value[1], .quarter_loss = {}};
  for (size_t i = 0; i < result.quarter_loss.size(); ++i) result.quarter_loss[i] = value[2 + i];
  if (statistics.correct.defined()) result.accuracy = value[2 + result.quarter_loss.size()];
  return result;
}

}  // namespace ddpm
