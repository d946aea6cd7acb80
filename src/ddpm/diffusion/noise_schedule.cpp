#include "ddpm/diffusion/noise_schedule.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"
#include "ddpm/diffusion/betas.h"

namespace ddpm {
namespace {

void check_betas(const Tensor& betas) {
  check_arg(betas.dim() == 1 && betas.numel() > 0 && betas.is_floating_point(),
            "[make_schedule] betas must be 1-D, floating and not empty: got shape ", betas.sizes(),
            " ", betas.scalar_type());
  const double lowest = betas.min().item<double>();
  const double highest = betas.max().item<double>();
  check_arg(lowest > 0 && highest <= 1, "[make_schedule] betas must lie in (0, 1]: got [", lowest,
            ", ", highest, "]");
}

void check_signal(const NoiseSchedule& s) {
  const int64_t without_signal = (s.alphas_cumprod == 0).sum().item<int64_t>();
  check_arg(without_signal <= 1,
            "[make_schedule] only the last alpha_bar may be 0 (smaller betas or fewer timesteps "
            "help): expected at most 1, got ",
            without_signal);
}

}  // namespace

NoiseSchedule NoiseSchedule::to(at::Device device) const {
  NoiseSchedule moved = *this;
  moved.visit_tables([&](const char* /*name*/, Tensor& table) { table = table.to(device); });
  return moved;
}

NoiseSchedule make_schedule(const Tensor& betas) {
  check_betas(betas);
  NoiseSchedule s;
  s.betas = betas.to(at::kDouble);
  s.alphas = 1 - s.betas;
  s.alphas_cumprod = s.alphas.cumprod(/*dim=*/0);
  check_signal(s);
  const Tensor one = at::ones({1}, s.betas.options());
  s.alphas_cumprod_prev = at::cat({one, s.alphas_cumprod.slice(/*dim=*/0, 0, -1)});
  const Tensor noise_variance = 1 - s.alphas_cumprod;
  const Tensor noise_variance_prev = 1 - s.alphas_cumprod_prev;

  s.sqrt_alphas = s.alphas.sqrt();
  s.sqrt_betas = s.betas.sqrt();
  s.sqrt_alphas_cumprod = s.alphas_cumprod.sqrt();
  s.sqrt_one_minus_alphas_cumprod = noise_variance.sqrt();
  s.sqrt_recip_alphas = s.sqrt_alphas.reciprocal();
  s.sqrt_recip_alphas_cumprod = s.sqrt_alphas_cumprod.reciprocal();
  s.sqrt_recipm1_alphas_cumprod = (noise_variance / s.alphas_cumprod).sqrt();
  s.posterior_mean_coef1 = s.betas * s.alphas_cumprod_prev.sqrt() / noise_variance;
  s.posterior_mean_coef2 = noise_variance_prev * s.sqrt_alphas / noise_variance;
  s.posterior_variance = s.betas * noise_variance_prev / noise_variance;
  s.snr = s.alphas_cumprod / noise_variance;
  s.zero_terminal_snr = s.alphas_cumprod[-1].item<double>() == 0;
  return s;
}

bool is_same_schedule(const NoiseSchedule& a, const NoiseSchedule& b) {
  constexpr double kRelative = 1e-5;
  constexpr double kAbsolute = 1e-9;
  return a.num_timesteps() == b.num_timesteps() &&
         at::allclose(a.alphas_cumprod, b.alphas_cumprod, kRelative, kAbsolute);
}

NoiseSchedule make_noise_schedule(const DiffusionConfig& config) {
  NoiseSchedule schedule = make_schedule(make_betas(config));
  check_arg(!schedule.zero_terminal_snr || !needs_signal(config.prediction),
            "[make_noise_schedule] zero terminal SNR (zero_terminal_snr, or jsd) needs another "
            "prediction: expected sample or v_prediction, got ",
            enum_word(config.prediction));
  schedule.variance = config.variance;
  schedule.sigma_data = config.sigma_data;
  return schedule;
}

}  // namespace ddpm
