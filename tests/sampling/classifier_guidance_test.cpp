#include "ddpm/sampling/classifier_guidance.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "ddpm/sampling/levels.h"
#include "ddpm/sampling/sampler.h"
#include "sampling/analytic_networks.h"
#include "sampling/sampler_cases.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::as_prediction;
using testing::gaussian_x_start;
using ::testing::HasSubstr;
using testing::independent_pixels;
using testing::kEveryPrediction;
using testing::long_schedule;
using testing::tensors_near;
using ::testing::ThrowsMessage;

constexpr double kLeft = -0.5, kRight = 0.7, kSpread = 0.15;

/// log N(x_t; sqrt(ab) mean, ab s^2 + 1 - ab), for one pixel an image, up to a common constant.
Tensor log_density(const Tensor& x_t, const Tensor& alpha_bar, double mean) {
  const Tensor ab = alpha_bar.to(at::kFloat).view({-1, 1, 1, 1});
  const Tensor variance = ab * (kSpread * kSpread) + (1 - ab);
  return -((x_t - ab.sqrt() * mean).square() / variance) / 2;
}

/// p(right | x_t) of the mixture, exactly, for each image of one pixel.
Tensor probability_of_right(const Tensor& x_t, const Tensor& alpha_bar) {
  return (log_density(x_t, alpha_bar, kRight) - log_density(x_t, alpha_bar, kLeft)).sigmoid();
}

/// x_0 of an equal mixture of N(kLeft, s^2) and N(kRight, s^2).
DenoiseFn mixture_x_start(const NoiseSchedule& schedule) {
  const auto left = gaussian_x_start(schedule, independent_pixels(1, kLeft, kSpread));
  const auto right = gaussian_x_start(schedule, independent_pixels(1, kRight, kSpread));
  return [=](const Tensor& x_t, const Tensor& t) {
    const Tensor p = probability_of_right(x_t, alpha_bars_at(schedule, t));
    return p * right(x_t, t) + (1 - p) * left(x_t, t);
  };
}

constexpr int64_t kImages = 4096;
const SampleRequest kOnePixelImages{.seed = 5, .num_images = kImages, .image_shape = {1, 1, 1}};
const SamplerOptions kMixtureSolver{.kind = SamplerKind::kDpmpp2m,
                                    .steps = 200,
                                    .spacing = TimestepSpacing::kLinspace,
                                    .clip = X0Clip::kNone};

TEST(ClassifierGuidanceTest, PerfectClassifierDrawsItsClassFromAMixture) {
  const NoiseSchedule schedule = long_schedule();
  for (const PredictionType prediction : kEveryPrediction) {
    SCOPED_TRACE(static_cast<int>(prediction));
    const DenoiseFn mixture = as_prediction(schedule, prediction, mixture_x_start(schedule));
    const Tensor unguided = sample(schedule, prediction, mixture, kMixtureSolver, kOnePixelImages);
    EXPECT_NEAR(unguided.mean().item<double>(), (kLeft + kRight) / 2, 0.05);
    const DenoiseFn guided = classifier_guidance(
        schedule, prediction, /*scale=*/1, mixture, [&](const Tensor& x_t, const Tensor& t) {
          return probability_of_right(x_t, alpha_bars_at(schedule, t)).log().flatten();
        });
    const Tensor images = sample(schedule, prediction, guided, kMixtureSolver, kOnePixelImages);
    // The mean is known to 0.0023, the deviation to 0.0017: four times that, and steps of
    // finite length.
    EXPECT_NEAR(images.mean().item<double>(), kRight, 0.015);
    EXPECT_NEAR(images.std().item<double>(), kSpread, 0.012);
  }
}

TEST(ClassifierGuidanceTest, TiltedGaussianIsDrawnAtEveryScale) {
  // Data N(0, s^2) tilted by exp(b x_0) is N(b s^2, s^2). Its classifier is log E[exp(b x_0) | x_t]
  // = b sqrt(ab) s^2 / (ab s^2 + 1 - ab) x_t + const, linear in x_t, so a scale is a factor of b.
  const NoiseSchedule schedule = long_schedule();
  const double s2 = 0.25, b = 0.8;
  const DenoiseFn data = as_prediction(schedule, PredictionType::kVelocity,
                                       gaussian_x_start(schedule, independent_pixels(1, 0, 0.5)));
  const auto tilt = [&](const Tensor& x_t, const Tensor& t) {
    const Tensor ab = alpha_bars_at(schedule, t).to(at::kFloat);
    return x_t.flatten() * ab.sqrt() * (b * s2) / (ab * s2 + 1 - ab);
  };
  for (const double scale : {0.0, 1.0, 2.0, 3.5}) {
    SCOPED_TRACE(scale);
    const DenoiseFn guided =
        classifier_guidance(schedule, PredictionType::kVelocity, scale, data, tilt);
    const Tensor images =
        sample(schedule, PredictionType::kVelocity, guided, kMixtureSolver, kOnePixelImages);
    EXPECT_NEAR(images.mean().item<double>(), scale * b * s2, 0.035)
        << "four times what it is known to";
    EXPECT_NEAR(images.std().item<double>(), 0.5, 0.03);
  }
}

TEST(ClassifierGuidanceTest, VarianceChannelsAreLeftAlone) {
  const NoiseSchedule schedule = long_schedule();
  const Tensor answer = at::randn({2, 4, 3, 3});
  const DenoiseFn guided = classifier_guidance(
      schedule, PredictionType::kEpsilon, 1, [&](const Tensor&, const Tensor&) { return answer; },
      [](const Tensor& x_t, const Tensor&) { return x_t.flatten(1).sum(1); });
  const Tensor t = at::tensor({0, 500}, at::kLong);
  const Tensor output = guided(at::zeros({2, 2, 3, 3}), t);
  EXPECT_TRUE(at::equal(output.narrow(1, 2, 2), answer.narrow(1, 2, 2)));
  const Tensor shift = (1 - schedule.alphas_cumprod.index_select(0, t)).sqrt().view({2, 1, 1, 1});
  EXPECT_TRUE(
      tensors_near(output.narrow(1, 0, 2), answer.narrow(1, 0, 2) - shift.to(at::kFloat), 1e-6))
      << "the gradient of a sum is 1";
}

TEST(ClassifierGuidanceTest, WithoutSignalNothingIsAdded) {
  DiffusionConfig config;
  config.zero_terminal_snr = true;
  config.prediction = PredictionType::kVelocity;
  const NoiseSchedule schedule = make_noise_schedule(config);
  const auto zero = [](const Tensor& x, const Tensor&) { return at::zeros_like(x); };
  const auto sum = [](const Tensor& x_t, const Tensor&) { return x_t.flatten(1).sum(1); };
  const DenoiseFn guided = classifier_guidance(schedule, PredictionType::kVelocity, 1, zero, sum);
  const Tensor output = guided(at::zeros({2, 1, 1, 1}), at::tensor({999, 998}, at::kLong));
  EXPECT_EQ(output[0].item<float>(), 0);
  EXPECT_LT(output[1].item<float>(), -1);
}

TEST(ClassifierGuidanceTest, AlphaBarsAtFractionalTimestepsAreThoseOfLevels) {
  const NoiseSchedule schedule = long_schedule();
  const LevelTable table = make_level_table(schedule);
  for (const double t : {0.0, 0.5, 17.25, 998.75, 999.0}) {
    const double expected = level_at_timestep(table, t).alpha_bar;
    EXPECT_NEAR(alpha_bars_at(schedule, at::tensor({t}, at::kDouble)).item<double>(), expected,
                1e-12 + 1e-9 * expected);
  }
  EXPECT_TRUE(at::equal(alpha_bars_at(schedule, at::tensor({3, 999}, at::kLong)),
                        schedule.alphas_cumprod.index_select(0, at::tensor({3, 999}, at::kLong))));
}

TEST(ClassifierGuidanceTest, LikelihoodOfAnotherShapeIsRefused) {
  const auto zero = [](const Tensor& x, const Tensor&) { return at::zeros_like(x); };
  const DenoiseFn guided =
      classifier_guidance(long_schedule(), PredictionType::kEpsilon, 1, zero,
                          [](const Tensor& x_t, const Tensor&) { return x_t.flatten(1); });
  EXPECT_THAT(
      [&] {
        guided(at::zeros({2, 1, 2, 2}), at::zeros({2}, at::kLong));
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("one value an image")));
}

}  // namespace
}  // namespace ddpm
