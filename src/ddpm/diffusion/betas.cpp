#include "ddpm/diffusion/betas.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>
#include <stdexcept>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

constexpr double kMaxRatioBeta = 0.999;

Tensor linspace(double start, double end, int64_t count) {
  return at::linspace(start, end, count, at::kDouble);
}

/// The betas whose alpha_bar falls as `alpha_bar` (T + 1 values at s = 0, 1/T, .. 1) does.
Tensor betas_of_alpha_bar(const Tensor& alpha_bar) {
  const Tensor ratio = alpha_bar.slice(/*dim=*/0, 1) / alpha_bar.slice(/*dim=*/0, 0, -1);
  return (1 - ratio).clamp_max(kMaxRatioBeta);
}

Tensor make_scaled_linear_betas(const DiffusionConfig& config) {
  const double scale = 1000.0 / static_cast<double>(config.num_timesteps);
  check_arg(config.beta_end * scale < 1 && config.beta_start * scale < 1,
            "[make_betas] linear_scaled multiplies both ends by 1000 / num_timesteps: expected "
            "betas below 1, got ",
            config.beta_end * scale, " from num_timesteps ", config.num_timesteps);
  return make_linear_betas(config.num_timesteps, config.beta_start * scale,
                           config.beta_end * scale);
}

Tensor make_custom_betas(const DiffusionConfig& config) {
  const auto count = static_cast<int64_t>(config.betas.size());
  check_arg(count == config.num_timesteps,
            "[make_betas] betas of a custom schedule: expected num_timesteps = ",
            config.num_timesteps, " values, got ", count);
  return at::tensor(config.betas, at::kDouble);
}

Tensor make_kind(const DiffusionConfig& c) {
  switch (c.schedule) {
    case ScheduleKind::kLinear:
      return make_linear_betas(c.num_timesteps, c.beta_start, c.beta_end);
    case ScheduleKind::kLinearScaled:
      return make_scaled_linear_betas(c);
    case ScheduleKind::kQuad:
      return make_quad_betas(c.num_timesteps, c.beta_start, c.beta_end);
    case ScheduleKind::kCosine:
      return make_cosine_betas(c.num_timesteps);
    case ScheduleKind::kSigmoidBeta:
      return make_sigmoid_beta_betas(c.num_timesteps, c.beta_start, c.beta_end);
    case ScheduleKind::kSigmoidAlphaBar:
      return make_sigmoid_alpha_bar_betas(c.num_timesteps);
    case ScheduleKind::kConst:
      return at::full({c.num_timesteps}, c.beta_end, at::kDouble);
    case ScheduleKind::kJsd:
      return make_jsd_betas(c.num_timesteps);
    case ScheduleKind::kCustom:
      return make_custom_betas(c);
  }
  throw std::logic_error("[make_betas] not a ScheduleKind");
}

void check_end(const char* field, double beta) {
  check_arg(beta > 0 && beta < 1, "[make_betas] ", field, " must lie in (0, 1): got ", beta);
}

void check_ends(const DiffusionConfig& config) {
  switch (config.schedule) {
    case ScheduleKind::kLinear:
    case ScheduleKind::kLinearScaled:
    case ScheduleKind::kQuad:
    case ScheduleKind::kSigmoidBeta:
      check_end("beta_start", config.beta_start);
      check_end("beta_end", config.beta_end);
      return;
    case ScheduleKind::kConst:
      check_end("beta_end", config.beta_end);
      return;
    case ScheduleKind::kCosine:
    case ScheduleKind::kSigmoidAlphaBar:
    case ScheduleKind::kJsd:
    case ScheduleKind::kCustom:
      return;
  }
}

}  // namespace

Tensor make_betas(const DiffusionConfig& config) {
  check_arg(config.num_timesteps >= 1, "[make_betas] num_timesteps must be 1 or more: got ",
            config.num_timesteps);
  check_ends(config);
  const Tensor betas = make_kind(config);
  return config.zero_terminal_snr ? rescale_zero_terminal_snr(betas) : betas;
}

Tensor make_linear_betas(int64_t num_timesteps, double beta_start, double beta_end) {
  return linspace(beta_start, beta_end, num_timesteps);
}

Tensor make_quad_betas(int64_t num_timesteps, double beta_start, double beta_end) {
  return linspace(std::sqrt(beta_start), std::sqrt(beta_end), num_timesteps).square();
}

Tensor make_cosine_betas(int64_t num_timesteps) {
  constexpr double kOffset = 0.008;  // keeps beta_0 from being too small [IDDPM Sec. 3.2]
  const Tensor s = linspace(0.0, 1.0, num_timesteps + 1);
  const Tensor angle = (s + kOffset) / (1 + kOffset) * (std::numbers::pi / 2);
  return betas_of_alpha_bar(angle.cos().square());
}

Tensor make_sigmoid_beta_betas(int64_t num_timesteps, double beta_start, double beta_end) {
  return linspace(-6.0, 6.0, num_timesteps).sigmoid() * (beta_end - beta_start) + beta_start;
}

Tensor make_sigmoid_alpha_bar_betas(int64_t num_timesteps) {
  const Tensor logits = linspace(-3.0, 3.0, num_timesteps + 1);
  const Tensor high = logits[-1].sigmoid();
  const Tensor low = logits[0].sigmoid();
  return betas_of_alpha_bar((high - logits.sigmoid()) / (high - low));
}

Tensor make_jsd_betas(int64_t num_timesteps) {
  return linspace(static_cast<double>(num_timesteps), 1.0, num_timesteps).reciprocal();
}

Tensor rescale_zero_terminal_snr(const Tensor& betas) {
  check_arg(betas.dim() == 1 && betas.size(0) >= 2,
            "[rescale_zero_terminal_snr] betas must hold 2 timesteps or more: got shape ",
            betas.sizes());
  const Tensor sqrt_alpha_bar = (1 - betas.to(at::kDouble)).cumprod(/*dim=*/0).sqrt();
  const Tensor first = sqrt_alpha_bar[0];
  const Tensor last = sqrt_alpha_bar[-1];
  const Tensor alpha_bar = ((sqrt_alpha_bar - last) * (first / (first - last))).square();
  const Tensor ratio = alpha_bar.slice(/*dim=*/0, 1) / alpha_bar.slice(/*dim=*/0, 0, -1);
  return 1 - at::cat({alpha_bar.slice(/*dim=*/0, 0, 1), ratio});
}

std::vector<double> unscaled_betas(DiffusionConfig config) {
  config.zero_terminal_snr = false;
  const Tensor betas = make_betas(config);
  const auto* first = betas.const_data_ptr<double>();
  return {first, first + betas.numel()};
}

}  // namespace ddpm
