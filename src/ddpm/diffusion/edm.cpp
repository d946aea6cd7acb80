#include "ddpm/diffusion/edm.h"

#include <ATen/ATen.h>

namespace ddpm {

EdmCoefficients edm_coefficients(double sigma_data, const Tensor& alpha_bar) {
  const Tensor noise_variance = 1 - alpha_bar;
  const Tensor n = noise_variance + alpha_bar * (sigma_data * sigma_data);
  const Tensor noise_share = (noise_variance / n).sqrt();
  return {.x_start_from_x_t = alpha_bar.sqrt() * (sigma_data * sigma_data) / n,
          .x_start_from_output = sigma_data * noise_share,
          .target_from_x_start = noise_share / sigma_data,
          .target_from_noise = -sigma_data * (alpha_bar / n).sqrt(),
          .input_scale = n.rsqrt()};
}

EdmInput edm_input(double sigma_data, const Tensor& x_t, const Tensor& alpha_bar) {
  const Tensor scale = edm_coefficients(sigma_data, alpha_bar).input_scale;
  const Tensor log_sigma = ((1 - alpha_bar) / alpha_bar).log() / 2;
  return {.x = x_t * scale.to(x_t.scalar_type()).view({-1, 1, 1, 1}),
          .c_noise = (log_sigma / 4).to(at::kFloat)};
}

}  // namespace ddpm
