#include "ddpm/loss/gaussian.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

TEST(GaussianTest, KlHasItsClosedForm) {
  const auto number = [](double value) { return at::scalar_tensor(value, at::kDouble); };
  const auto kl = [&](double mean_q, double sigma_q, double mean_p, double sigma_p) {
    return normal_kl(number(mean_q), number(2 * std::log(sigma_q)), number(mean_p),
                     number(2 * std::log(sigma_p)))
        .item<double>();
  };
  EXPECT_NEAR(kl(0.3, 2, 0.3, 2), 0, 1e-15);
  EXPECT_NEAR(kl(0, 1, 2, 1), 2, 1e-12);                            // (m - m')^2 / 2
  EXPECT_NEAR(kl(0, 1, 0, 2), std::log(2.0) + 0.125 - 0.5, 1e-12);  // log 2 + 1/8 - 1/2
  EXPECT_NEAR(kl(1, 3, -1, 0.5), std::log(0.5 / 3) + (9 + 4) / 0.5 - 0.5, 1e-12);
}

// Published: the tanh form is off by at most 1.8e-4.
TEST(GaussianTest, CdfIsTheTanhApproximation) {
  const Tensor x = at::linspace(-6, 6, 2401, at::kDouble);
  const Tensor exact = 0.5 * (1 + at::erf(x / std::numbers::sqrt2));
  const double worst = (approximate_normal_cdf(x) - exact).abs().max().item<double>();
  EXPECT_NEAR(worst, 1.8e-4, 5e-6);
}

TEST(GaussianTest, ProbabilitiesOfAllPixelsSumToOne) {
  const Tensor pixels = at::arange(256, at::kDouble) / 127.5 - 1;
  for (const double mean : {-1.2, -0.999, 0.1, 0.97}) {
    for (const double deviation : {0.02, 0.3, 5.0}) {
      const Tensor log_probability =
          discretized_gaussian_log_likelihood(pixels, at::full({}, mean, at::kDouble),
                                              at::full({}, 2 * std::log(deviation), at::kDouble));
      EXPECT_NEAR(log_probability.exp().sum().item<double>(), 1, 1e-9) << mean << " " << deviation;
    }
  }
}

TEST(GaussianTest, ImpossiblePixelsCostAtMostTheFloorAndGiveNoNan) {
  Tensor mean = at::full({1}, -1.0).set_requires_grad(true);
  const Tensor log_probability =
      discretized_gaussian_log_likelihood(at::full({1}, 0.5), mean, at::full({1}, -12.0));
  EXPECT_NEAR(log_probability.item<double>(), std::log(1e-12), 1e-4);
  log_probability.sum().backward();
  EXPECT_EQ(mean.grad().item<double>(), 0);
}

}  // namespace
}  // namespace ddpm
