#include "ddpm/diffusion/posterior.h"

#include <ATen/ATen.h>

#include <stdexcept>

#include "ddpm/core/check.h"
#include "ddpm/diffusion/forward_process.h"
#include "ddpm/diffusion/prediction.h"

namespace ddpm {
namespace {

Tensor variance_as_defined(const NoiseSchedule& schedule, VarianceType type) {
  switch (type) {
    case VarianceType::kFixedSmall:
      return schedule.posterior_variance;
    case VarianceType::kFixedLarge:
      return schedule.betas;
    case VarianceType::kLearnedRange:
      check_arg(false,
                "[variance_table] a learned variance is the network's: expected fixed_small ",
                "or fixed_large, got learned_range");
  }
  throw std::logic_error("[variance_table] not a VarianceType");
}

}  // namespace

Tensor q_posterior_mean(const NoiseSchedule& schedule, const Tensor& x_start, const Tensor& x_t,
                        const Tensor& t) {
  check_batch("q_posterior_mean", x_start, t, x_t, "x_t");
  return gather_at(schedule.posterior_mean_coef1, t, x_start) * x_start +
         gather_at(schedule.posterior_mean_coef2, t, x_start) * x_t;
}

Tensor variance_table(const NoiseSchedule& schedule, VarianceType type, FirstVariance first) {
  const Tensor variance = variance_as_defined(schedule, type);
  switch (first) {
    case FirstVariance::kAsDefined:
      return variance;
    case FirstVariance::kFromSecondStep:
      check_arg(schedule.num_timesteps() >= 2,
                "[variance_table] the variance of t = 0 comes from t = 1: expected 2 timesteps or "
                "more, got ",
                schedule.num_timesteps());
      return at::cat(
          {schedule.posterior_variance.slice(/*dim=*/0, 1, 2), variance.slice(/*dim=*/0, 1)});
  }
  throw std::logic_error("[variance_table] not a FirstVariance");
}

Tensor log_variance_table(const NoiseSchedule& schedule, VarianceType type) {
  return variance_table(schedule, type, FirstVariance::kFromSecondStep).log();
}

Tensor learned_log_variance(const NoiseSchedule& schedule, const Tensor& v, const Tensor& t) {
  check_batch("learned_log_variance", v, t, v, "v");
  const Tensor lowest = gather_at(log_variance_table(schedule, VarianceType::kFixedSmall), t, v);
  const Tensor highest = gather_at(schedule.betas.log(), t, v);
  return lowest + 0.5 * (v + 1) * (highest - lowest);
}

SplitOutput split_output(const Tensor& output, int64_t channels) {
  check_arg(output.dim() == 4 && output.size(1) == 2 * channels,
            "[split_output] a learned variance takes two channels for one: expected [N, ",
            2 * channels, ", H, W], got ", output.sizes());
  return {output.narrow(/*dim=*/1, 0, channels), output.narrow(/*dim=*/1, channels, channels)};
}

ReverseGaussian reverse_gaussian(const NoiseSchedule& schedule, PredictionType prediction,
                                 const Tensor& x_t, const Tensor& t, const Tensor& output) {
  if (schedule.variance == VarianceType::kLearnedRange) {
    const auto [predicted, v] = split_output(output, x_t.size(1));
    const Tensor x_start = predict_x_start(schedule, prediction, x_t, t, predicted);
    return {q_posterior_mean(schedule, x_start, x_t, t), learned_log_variance(schedule, v, t)};
  }
  const Tensor x_start = predict_x_start(schedule, prediction, x_t, t, output);
  return {q_posterior_mean(schedule, x_start, x_t, t),
          gather_at(log_variance_table(schedule, schedule.variance), t, x_t)};
}

}  // namespace ddpm
