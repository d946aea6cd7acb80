#include "ddpm/diffusion/posterior.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "ddpm/diffusion/betas.h"
#include "ddpm/diffusion/forward_process.h"
#include "diffusion/schedules.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::every_schedule;
using testing::name_of;
using testing::tensors_near;

NoiseSchedule linear() { return make_schedule(make_linear_betas(1000, 1e-4, 0.02)); }

// Averaging q(x_{t-1} | x_t, x_0) over q(x_t | x_0) must give q(x_{t-1} | x_0), for every t.
TEST(PosteriorTest, LeadsFromOneMarginalToThePreviousOneForEverySchedule) {
  for (const DiffusionConfig& config : every_schedule(300)) {
    SCOPED_TRACE(name_of(config));
    const NoiseSchedule s = make_noise_schedule(config);
    const Tensor t = at::arange(300, at::kLong);
    const Tensor one = at::ones({300}, at::kDouble);
    const Tensor zero = at::zeros({300}, at::kDouble);
    const Tensor mean = q_posterior_mean(s, one, q_sample(s, one, t, zero), t);
    const Tensor spread = q_posterior_mean(s, zero, q_sample(s, zero, t, one), t);
    const Tensor variance = variance_table(s, VarianceType::kFixedSmall, FirstVariance::kAsDefined);
    EXPECT_TRUE(tensors_near(mean, s.alphas_cumprod_prev.sqrt(), 1e-12));
    EXPECT_TRUE(tensors_near(spread.square() + variance, 1 - s.alphas_cumprod_prev, 1e-12));
  }
}

// The product of the Gaussians q(x_t | x_{t-1}) and q(x_{t-1} | x_0), by adding precisions.
TEST(PosteriorTest, AgreesWithBayesRule) {
  const NoiseSchedule s = linear();
  const auto x_start = at::full({3}, 0.4, at::kDouble);
  const auto x_t = at::full({3}, -1.3, at::kDouble);
  const auto t = at::tensor({1, 500, 999}, at::kLong);
  const auto alpha = s.alphas.index_select(0, t);
  const auto beta = s.betas.index_select(0, t);
  const auto prior_mean = s.alphas_cumprod_prev.index_select(0, t).sqrt() * x_start;
  const auto prior_variance = 1 - s.alphas_cumprod_prev.index_select(0, t);
  const auto variance = 1 / (alpha / beta + 1 / prior_variance);
  const auto mean = variance * (alpha.sqrt() / beta * x_t + prior_mean / prior_variance);
  EXPECT_TRUE(tensors_near(q_posterior_mean(s, x_start, x_t, t), mean, 1e-10));
  EXPECT_TRUE(tensors_near(s.posterior_variance.index_select(0, t), variance, 1e-12));
}

TEST(PosteriorTest, MeanAtTheFirstTimestepIsXStart) {
  const auto x_start = at::rand({1, 2, 3, 3});
  const auto mean =
      q_posterior_mean(linear(), x_start, at::randn_like(x_start), at::zeros({1}, at::kLong));
  EXPECT_TRUE(tensors_near(mean, x_start, 1e-6));
}

TEST(PosteriorTest, VarianceTablesDifferInTypeAndAtTheFirstTimestepOnly) {
  const NoiseSchedule s = linear();
  const auto table = [&](VarianceType type, FirstVariance first) {
    return variance_table(s, type, first);
  };
  const auto small = table(VarianceType::kFixedSmall, FirstVariance::kAsDefined);
  const auto large = table(VarianceType::kFixedLarge, FirstVariance::kAsDefined);
  const auto small_ruled = table(VarianceType::kFixedSmall, FirstVariance::kFromSecondStep);
  const auto large_ruled = table(VarianceType::kFixedLarge, FirstVariance::kFromSecondStep);

  EXPECT_EQ(small[0].item<double>(), 0.0);
  EXPECT_DOUBLE_EQ(large[0].item<double>(), 1e-4);
  EXPECT_TRUE(at::equal(large, s.betas));
  for (const Tensor& ruled : {small_ruled, large_ruled}) {
    EXPECT_NEAR(ruled[0].item<double>(), 5.453188e-5, 1e-11);  // beta_tilde_1 for both
  }
  EXPECT_TRUE(at::equal(small_ruled.slice(0, 1), small.slice(0, 1)));
  EXPECT_TRUE(at::equal(large_ruled.slice(0, 1), large.slice(0, 1)));
}

TEST(PosteriorTest, LogVarianceIsFiniteAndKnownAtTheFirstTimestep) {
  for (const VarianceType type : {VarianceType::kFixedSmall, VarianceType::kFixedLarge}) {
    const Tensor log_variance = log_variance_table(linear(), type);
    EXPECT_TRUE(log_variance.isfinite().all().item<bool>());
    EXPECT_NEAR(log_variance[0].item<double>(), -9.817, 5e-4);
  }
  const Tensor large = log_variance_table(linear(), VarianceType::kFixedLarge);
  EXPECT_NEAR(large[999].item<double>(), std::log(0.02), 1e-12);
}

TEST(PosteriorTest, ALearnedVarianceHasNoTable) {
  EXPECT_THROW(
      variance_table(linear(), VarianceType::kLearnedRange, FirstVariance::kFromSecondStep),
      std::invalid_argument);
}

// [IDDPM Eq. 15]: v = -1 gives beta_tilde, v = 1 beta, between them the logarithms.
TEST(PosteriorTest, LearnedLogVarianceGoesFromBetaTildeToBeta) {
  const NoiseSchedule s = linear();
  const Tensor t = at::tensor({0, 1, 500}, at::kLong);
  const auto at_v = [&](double v) {
    return learned_log_variance(s, at::full({3, 1, 1, 1}, v, at::kDouble), t).exp().flatten();
  };
  const Tensor beta = s.betas.index_select(0, t);
  Tensor tilde = s.posterior_variance.index_select(0, t);
  tilde[0] = tilde[1];
  EXPECT_TRUE(tensors_near(at_v(-1) / tilde, at::ones({3}), 1e-12));
  EXPECT_TRUE(tensors_near(at_v(1) / beta, at::ones({3}), 1e-12));
  EXPECT_TRUE(tensors_near(at_v(0) / (beta * tilde).sqrt(), at::ones({3}), 1e-12));
  EXPECT_TRUE(tensors_near(at_v(3) / (beta * beta / tilde), at::ones({3}), 1e-12));  // no clamp
}

TEST(PosteriorTest, TheReverseGaussianTakesTheScheduledVariance) {
  NoiseSchedule s = linear();
  at::manual_seed(1);
  const Tensor x_t = at::randn({2, 3, 4, 4}, at::kDouble);
  const Tensor output = at::randn({2, 6, 4, 4}, at::kDouble);
  const Tensor t = at::tensor({0, 700}, at::kLong);
  s.variance = VarianceType::kLearnedRange;
  const ReverseGaussian learned = reverse_gaussian(s, PredictionType::kSample, x_t, t, output);
  const Tensor x_start = output.narrow(1, 0, 3);
  EXPECT_TRUE(tensors_near(learned.mean, q_posterior_mean(s, x_start, x_t, t), 0));
  EXPECT_TRUE(
      tensors_near(learned.log_variance, learned_log_variance(s, output.narrow(1, 3, 3), t), 0));
  s.variance = VarianceType::kFixedLarge;
  const ReverseGaussian fixed = reverse_gaussian(s, PredictionType::kSample, x_t, t, x_start);
  EXPECT_TRUE(tensors_near(fixed.mean, learned.mean, 0));
  EXPECT_NEAR(fixed.log_variance[0].item<double>(), std::log(5.453188e-5), 1e-6);
  EXPECT_NEAR(fixed.log_variance[1].item<double>(), s.betas[700].log().item<double>(), 1e-12);
  EXPECT_THROW(split_output(x_start, 3), std::invalid_argument);
}

TEST(PosteriorTest, FirstTimestepRuleNeedsASecondTimestep) {
  const NoiseSchedule s = make_schedule(make_linear_betas(1, 0.1, 0.1));
  EXPECT_THROW(log_variance_table(s, VarianceType::kFixedSmall), std::invalid_argument);
  EXPECT_NO_THROW(variance_table(s, VarianceType::kFixedSmall, FirstVariance::kAsDefined));
}

TEST(PosteriorTest, MeanRejectsAnotherShape) {
  EXPECT_THROW(
      q_posterior_mean(linear(), at::zeros({2, 3}), at::zeros({2, 4}), at::zeros({2}, at::kLong)),
      std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
