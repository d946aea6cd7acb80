#include "ddpm/loss/gaussian.h"

#include <ATen/ATen.h>

#include <cmath>
#include <numbers>

namespace ddpm {
namespace {

constexpr double kHalfPixel = 1.0 / 255.0;
constexpr double kLowestProbability = 1e-12;
// Between the last two pixel values at either end.
constexpr double kEndPixel = 0.999;

}  // namespace

Tensor normal_kl(const Tensor& mean_q, const Tensor& log_variance_q, const Tensor& mean_p,
                 const Tensor& log_variance_p) {
  return 0.5 * (log_variance_p - log_variance_q + (log_variance_q - log_variance_p).exp() +
                (mean_q - mean_p).square() * (-log_variance_p).exp() - 1);
}

Tensor approximate_normal_cdf(const Tensor& x) {
  const double scale = std::sqrt(2 / std::numbers::pi);
  return 0.5 * (1 + (scale * (x + 0.044715 * x * x * x)).tanh());
}

Tensor discretized_gaussian_log_likelihood(const Tensor& x, const Tensor& mean,
                                           const Tensor& log_variance) {
  const Tensor centered = x - mean;
  const Tensor inverse_deviation = (-0.5 * log_variance).exp();
  const Tensor below_upper = approximate_normal_cdf((centered + kHalfPixel) * inverse_deviation);
  const Tensor below_lower = approximate_normal_cdf((centered - kHalfPixel) * inverse_deviation);
  const Tensor inside = below_upper - below_lower;
  const Tensor probability =
      at::where(x < -kEndPixel, below_upper, at::where(x > kEndPixel, 1 - below_lower, inside));
  return probability.clamp_min(kLowestProbability).log();
}

}  // namespace ddpm
