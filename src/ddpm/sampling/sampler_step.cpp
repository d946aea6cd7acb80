#include "ddpm/sampling/sampler_step.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "ddpm/core/check.h"
#include "ddpm/kernels/sampler_update.h"
#include "ddpm/sampling/timesteps.h"

namespace ddpm {
namespace {

constexpr int64_t kDefaultDdimSteps = 50;

void check_range(const char* field, double value, double min, double max) {
  check_arg(value >= min && value <= max, "[make_sampler_steps] ", field,
            " is out of range: ", "expected ", min, " to ", max, ", got ", value);
}

void check_options(const SamplerOptions& options) {
  check_range("eta", options.eta, 0, 1);
  check_range("dynamic_ratio", options.dynamic_ratio, 0, 1);
  check_arg(options.dynamic_max >= 1,
            "[make_sampler_steps] dynamic_max is too small: expected 1 or more, got ",
            options.dynamic_max);
}

void check_zero_terminal_snr(const NoiseSchedule& schedule, PredictionType prediction,
                             int64_t first_t) {
  if (!schedule.zero_terminal_snr) return;
  check_arg(prediction != PredictionType::kEpsilon,
            "[make_sampler_steps] eps says nothing about x_start where alpha_bar is 0: expected "
            "prediction sample or v_prediction with zero terminal SNR, got epsilon");
  const int64_t last = schedule.num_timesteps() - 1;
  check_arg(first_t == last,
            "[make_sampler_steps] sampling with zero terminal SNR begins at the last timestep: "
            "expected ",
            last, ", got ", first_t, "; use trailing or linspace spacing");
}

VarianceType resolve_variance(const NoiseSchedule& schedule, VarianceOverride choice) {
  switch (choice) {
    case VarianceOverride::kModel:
      return schedule.variance;
    case VarianceOverride::kFixedSmall:
      return VarianceType::kFixedSmall;
    case VarianceOverride::kFixedLarge:
      return VarianceType::kFixedLarge;
  }
  throw std::logic_error("[make_sampler_steps] not a VarianceOverride");
}

void set_x_start_coefficients(SamplerStep& step, PredictionType prediction) {
  const double a = step.alpha_bar;
  switch (prediction) {
    case PredictionType::kEpsilon:
      step.x_start_from_x_t = 1 / std::sqrt(a);
      step.x_start_from_output = -std::sqrt((1 - a) / a);
      return;
    case PredictionType::kSample:
      step.x_start_from_x_t = 0;
      step.x_start_from_output = 1;
      return;
    case PredictionType::kVelocity:
      step.x_start_from_x_t = std::sqrt(a);
      step.x_start_from_output = -std::sqrt(1 - a);
      return;
  }
  throw std::logic_error("[make_sampler_steps] not a PredictionType");
}

void set_ddpm_coefficients(SamplerStep& step, VarianceType variance) {
  const double a = step.alpha_bar;
  const double p = step.alpha_bar_prev;
  const double beta = 1 - a / p;
  step.coef_x_start = std::sqrt(p) * beta / (1 - a);
  step.coef_x_t = std::sqrt(a / p) * (1 - p) / (1 - a);
  const bool small = variance == VarianceType::kFixedSmall;
  step.sigma = std::sqrt(small ? beta * (1 - p) / (1 - a) : beta);
}

void set_ddim_coefficients(SamplerStep& step, double eta) {
  const double a = step.alpha_bar;
  const double p = step.alpha_bar_prev;
  step.sigma = eta * std::sqrt((1 - p) / (1 - a)) * std::sqrt(1 - a / p);
  // At eta = 1 and alpha_bar = 0 rounding can leave a variance just below 0.
  const double variance_of_eps = std::max(1 - p - step.sigma * step.sigma, 0.0);
  step.coef_x_t = std::sqrt(variance_of_eps / (1 - a));
  step.coef_x_start = std::sqrt(p) - std::sqrt(a) * step.coef_x_t;
}

void set_update_coefficients(SamplerStep& step, const NoiseSchedule& schedule,
                             const SamplerOptions& options) {
  switch (options.kind) {
    case SamplerKind::kDdpm:
      set_ddpm_coefficients(step, resolve_variance(schedule, options.variance));
      break;
    case SamplerKind::kDdim:
      set_ddim_coefficients(step, options.eta);
      break;
  }
  if (step.t_prev < 0) step.sigma = 0;  // the image itself takes no noise, whatever its timestep
}

/// Dynamic thresholding. The quantile is interpolated between the two nearest order statistics,
/// from topk: at::quantile refuses more than 2^24 elements.
Tensor threshold(const SamplerOptions& options, const Tensor& x_start) {
  const Tensor magnitude = x_start.abs().reshape({x_start.size(0), -1});
  const int64_t n = magnitude.size(1);
  const double position = options.dynamic_ratio * static_cast<double>(n - 1);
  const auto below = static_cast<int64_t>(std::floor(position));
  const Tensor top = std::get<0>(magnitude.topk(n - below, /*dim=*/1));
  const Tensor low = top.select(/*dim=*/1, n - below - 1);
  const Tensor high = top.select(/*dim=*/1, std::max(n - below - 2, int64_t{0}));
  const Tensor quantile = low + (high - low) * (position - static_cast<double>(below));
  std::vector<int64_t> shape(static_cast<size_t>(x_start.dim()), 1);
  shape[0] = x_start.size(0);
  const Tensor s = quantile.clamp(1, options.dynamic_max).view(shape);
  return at::minimum(at::maximum(x_start, -s), s) / s;
}

}  // namespace

int64_t count_sampler_steps(const SamplerOptions& options, int64_t num_timesteps) {
  check_arg(options.steps >= 0 && options.steps <= num_timesteps,
            "[count_sampler_steps] steps must not exceed the schedule's timesteps: expected 0 to ",
            num_timesteps, ", got ", options.steps);
  if (options.steps > 0) return options.steps;
  return options.kind == SamplerKind::kDdpm ? num_timesteps
                                            : std::min(kDefaultDdimSteps, num_timesteps);
}

std::vector<SamplerStep> make_sampler_steps(const NoiseSchedule& schedule,
                                            PredictionType prediction,
                                            const SamplerOptions& options) {
  check_options(options);
  const int64_t num_timesteps = schedule.num_timesteps();
  const auto timesteps =
      make_timesteps(options.spacing, num_timesteps, count_sampler_steps(options, num_timesteps));
  check_zero_terminal_snr(schedule, prediction, timesteps.front());

  const Tensor alphas_cumprod = schedule.alphas_cumprod.cpu().contiguous();
  const double* alpha_bar = alphas_cumprod.const_data_ptr<double>();
  std::vector<SamplerStep> steps(timesteps.size());
  for (size_t i = 0; i < steps.size(); ++i) {
    SamplerStep& step = steps[i];
    step.t = timesteps[i];
    step.t_prev = i + 1 < steps.size() ? timesteps[i + 1] : -1;
    step.alpha_bar = alpha_bar[step.t];
    step.alpha_bar_prev = step.t_prev >= 0 ? alpha_bar[step.t_prev] : 1.0;
    set_x_start_coefficients(step, prediction);
    set_update_coefficients(step, schedule, options);
  }
  return steps;
}

Tensor clip_x_start(const SamplerOptions& options, const Tensor& x_start) {
  switch (options.clip) {
    case X0Clip::kNone:
      return x_start;
    case X0Clip::kClip:
      return x_start.clamp(-1, 1);
    case X0Clip::kDynamic:
      return threshold(options, x_start);
  }
  throw std::logic_error("[clip_x_start] not an X0Clip");
}

SamplerStepResult sampler_step(const SamplerStep& step, const SamplerOptions& options,
                               const Tensor& x_t, const Tensor& output, const Tensor& noise) {
  check_arg(output.sizes() == x_t.sizes(),
            "[sampler_step] the network's output must have x_t's shape: expected ", x_t.sizes(),
            ", got ", output.sizes());
  const Tensor x_start =
      x_t * step.x_start_from_x_t + output.to(at::kFloat) * step.x_start_from_output;
  SamplerStepResult result;
  result.pred_x_start = clip_x_start(options, x_start);
  result.x_prev =
      sampler_update(x_t, result.pred_x_start, noise, step.coef_x_start, step.coef_x_t, step.sigma);
  return result;
}

Tensor eps_of_step(const SamplerStep& step, const Tensor& x_t, const Tensor& pred_x_start) {
  return (x_t - pred_x_start * std::sqrt(step.alpha_bar)) / std::sqrt(1 - step.alpha_bar);
}

}  // namespace ddpm
