#include "ddpm/evaluation/variational_bound.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numbers>
#include <stdexcept>

#include "ddpm/diffusion/betas.h"
#include "ddpm/diffusion/forward_process.h"
#include "ddpm/evaluation/held_out_batch.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

constexpr int64_t kSteps = 12;

NoiseSchedule short_schedule() { return make_schedule(make_linear_betas(kSteps, 1e-3, 0.5)); }

/// Pixels from 20 to 235: none at an open end of the range.
ImageSet inner_images(int64_t count) {
  at::manual_seed(2);
  return {.images = at::randint(20, 236, {count, 1, 6, 6}, at::kLong).to(at::kByte),
          .labels = at::zeros({count}, at::kLong)};
}

EvaluatedModel model_of(const LabelledNetwork& network) {
  return {.schedule = short_schedule(),
          .prediction = PredictionType::kSample,
          .loss = {},
          .network = network};
}

Tensor x_start_of(const ImageSet& set) { return set.images.to(at::kFloat) / 127.5 - 1; }

/// -log2 of the part of N(0, variance) within half a pixel, by the exact distribution function.
double first_bits(double variance) {
  return -std::log2(std::erf(1.0 / 255.0 / std::sqrt(2 * variance)));
}

// p is then q itself, so that only the cut into pixels costs bits.
TEST(VariationalBoundTest, WhoKnowsTheImagePaysForTheLastStepAlone) {
  const ImageSet set = inner_images(6);
  const EvaluatedModel model =
      model_of([&](const Tensor&, const Tensor&, const Tensor&) { return x_start_of(set); });
  const VariationalBound bound =
      variational_bound(model, set, {.num_draws = kSteps - 1, .batch_size = 6});
  EXPECT_NEAR(bound.kl_terms, 0, 1e-5);
  const double variance = model.schedule.posterior_variance[1].item<double>();
  EXPECT_NEAR(bound.first_term, first_bits(variance), 2e-3);  // of the tanh for the exact function
  EXPECT_NEAR(bound.bits_per_dim, bound.prior + bound.kl_terms + bound.first_term, 1e-12);
  EXPECT_EQ(bound.num_images, 6);
}

/// KL of Gaussians of one variance: c_1^2 (x_0 - pred)^2 / (2 beta_tilde), in bits.
double direct_kl_bits(const NoiseSchedule& schedule, const ImageSet& set, uint64_t seed) {
  const HeldOutBatch batch = take_held_out_batch(set, /*first=*/0, set.images.size(0), at::kCPU);
  double bits = 0;
  for (int64_t t = 1; t < kSteps; ++t) {
    const Tensor at_t = at::full({set.images.size(0)}, t, at::kLong);
    const Tensor x_t = q_sample(schedule, batch.x_start, at_t, held_out_noise(batch, seed, t));
    const Tensor error = (batch.x_start - (2 * x_t).clamp(-1, 1)).to(at::kDouble);
    const double scale = schedule.posterior_mean_coef1[t].item<double>();
    const double variance = schedule.posterior_variance[t].item<double>();
    bits += scale * scale * error.square().mean().item<double>() / (2 * variance);
  }
  return bits / std::numbers::ln2;
}

TEST(VariationalBoundTest, AllTimestepsGiveTheSumOfTheTermsWithXStartClipped) {
  const ImageSet set = inner_images(5);
  const EvaluatedModel model =
      model_of([](const Tensor& x_t, const Tensor&, const Tensor&) { return 2 * x_t; });
  const VariationalBound bound =
      variational_bound(model, set, {.num_draws = kSteps - 1, .batch_size = 2, .seed = 4});
  const double expected = direct_kl_bits(model.schedule, set, 4);
  EXPECT_NEAR(bound.kl_terms, expected, 1e-4 * expected);
}

TEST(VariationalBoundTest, FewTimestepsEstimateTheSameSum) {
  const ImageSet set = inner_images(400);
  const EvaluatedModel model =
      model_of([](const Tensor& x_t, const Tensor&, const Tensor&) { return x_t; });
  const VariationalBound all =
      variational_bound(model, set, {.num_draws = kSteps - 1, .batch_size = 400});
  const VariationalBound few = variational_bound(model, set, {.num_draws = 3, .batch_size = 150});
  EXPECT_NEAR(few.bits_per_dim, all.bits_per_dim, 4 * few.standard_error);
  EXPECT_GT(few.standard_error, all.standard_error);
  EXPECT_EQ(few.prior, all.prior);
}

/// A network that predicts x_t, with v everywhere where it learns the variance.
EvaluatedModel model_of_variance(VarianceType variance, double v) {
  const bool learned = variance == VarianceType::kLearnedRange;
  EvaluatedModel model = model_of([=](const Tensor& x_t, const Tensor&, const Tensor&) {
    return learned ? at::cat({x_t, at::full_like(x_t, v)}, 1) : x_t;
  });
  model.schedule.variance = variance;
  return model;
}

// v = 1 is beta_t, v = -1 is beta_tilde_t.
TEST(VariationalBoundTest, ALearnedVarianceIsRead) {
  const ImageSet set = inner_images(4);
  const auto kl_terms = [&](VarianceType variance, double v) {
    return variational_bound(model_of_variance(variance, v), set, {.num_draws = 5}).kl_terms;
  };
  const double largest = kl_terms(VarianceType::kLearnedRange, 1);
  const double smallest = kl_terms(VarianceType::kLearnedRange, -1);
  EXPECT_NEAR(largest, kl_terms(VarianceType::kFixedLarge, 0), 1e-4);
  EXPECT_NEAR(smallest, kl_terms(VarianceType::kFixedSmall, 0), 1e-4);
  EXPECT_GT(std::abs(largest - smallest), 0.01);
}

TEST(VariationalBoundTest, RefusesTooManyDrawsAndTooFewImages) {
  const EvaluatedModel model =
      model_of([](const Tensor& x_t, const Tensor&, const Tensor&) { return x_t; });
  EXPECT_THROW(variational_bound(model, inner_images(2), {.num_draws = kSteps}),
               std::invalid_argument);
  EXPECT_THROW(variational_bound(model, inner_images(1), {.num_draws = 2}), std::invalid_argument);
  EXPECT_THROW(variational_bound(model, inner_images(2), {.num_draws = 2, .batch_size = 0}),
               std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
