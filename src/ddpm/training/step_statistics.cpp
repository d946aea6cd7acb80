#include "ddpm/training/step_statistics.h"

#include <ATen/ATen.h>

#include <vector>

namespace ddpm {
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
