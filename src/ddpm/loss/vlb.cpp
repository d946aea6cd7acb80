#include "ddpm/loss/vlb.h"

#include <ATen/ATen.h>

#include <numbers>

#include "ddpm/diffusion/forward_process.h"
#include "ddpm/loss/gaussian.h"

namespace ddpm {
namespace {

Tensor mean_in_bits(const Tensor& nats) {
  return nats.reshape({nats.size(0), -1}).mean(/*dim=*/1) / std::numbers::ln2;
}

}  // namespace

Tensor vlb_term(const NoiseSchedule& schedule, const Tensor& x_start, const Tensor& x_t,
                const Tensor& t, const ReverseGaussian& p) {
  check_batch("vlb_term", x_start, t, p.mean, "p.mean");
  const Tensor mean_q = q_posterior_mean(schedule, x_start, x_t, t);
  const Tensor log_variance_q =
      gather_at(log_variance_table(schedule, VarianceType::kFixedSmall), t, x_start);
  const Tensor kl = normal_kl(mean_q, log_variance_q, p.mean, p.log_variance);
  const Tensor negative_log_likelihood =
      -discretized_gaussian_log_likelihood(x_start, p.mean, p.log_variance);
  return at::where(t == 0, mean_in_bits(negative_log_likelihood), mean_in_bits(kl));
}

Tensor prior_bits_per_dim(const NoiseSchedule& schedule, const Tensor& x_start) {
  // In float64: 1 - alpha_bar - 1 and log(1 - alpha_bar) nearly cancel.
  const Tensor alpha_bar = schedule.alphas_cumprod[-1];
  const Tensor x = x_start.to(at::kDouble);
  const Tensor kl = 0.5 * (alpha_bar * (x.square() - 1) - at::log1p(-alpha_bar));
  return mean_in_bits(kl).to(x_start.scalar_type());
}

}  // namespace ddpm
