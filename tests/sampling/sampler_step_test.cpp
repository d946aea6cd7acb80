#include "ddpm/sampling/sampler_step.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "ddpm/diffusion/forward_process.h"
#include "sampling/sampler_cases.h"
#include "support/host_reads.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::every_sampler;
using ::testing::HasSubstr;
using testing::host_reads;
using ::testing::IsEmpty;
using testing::kEveryPrediction;
using testing::kEverySpacing;
using testing::short_schedule;
using testing::tensors_near;
using ::testing::ThrowsMessage;

NoiseSchedule linear() { return make_schedule(make_linear_betas(1000, 1e-4, 0.02)); }

// A perfect x_0 makes x_t = sqrt(a) x_0 + sqrt(1 - a) eps. One step must give mean sqrt(p) x_0 and
// variance 1 - p, in closed form: the marginal of the previous timestep in the list.
TEST(SamplerStepTest, StepLeadsToThePreviousMarginalForEverySamplerAndSpacing) {
  const NoiseSchedule schedule = linear();
  for (SamplerOptions options : every_sampler()) {
    if (options.variance == VarianceOverride::kFixedLarge) continue;  // wider, by definition
    for (const TimestepSpacing spacing : kEverySpacing) {
      for (const int64_t steps : {1, 7, 50, 1000}) {
        options.spacing = spacing;
        options.steps = steps;
        for (const SamplerStep& step :
             make_sampler_steps(schedule, PredictionType::kEpsilon, options)) {
          const double mean = step.coef_x_start + step.coef_x_t * std::sqrt(step.alpha_bar);
          const double variance =
              step.coef_x_t * step.coef_x_t * (1 - step.alpha_bar) + step.sigma * step.sigma;
          ASSERT_NEAR(mean, std::sqrt(step.alpha_bar_prev), 1e-12) << "t = " << step.t;
          ASSERT_NEAR(variance, 1 - step.alpha_bar_prev, 1e-12) << "t = " << step.t;
        }
      }
    }
  }
}

TEST(SamplerStepTest, StepsFollowTheListAndEndAtTheImage) {
  SamplerOptions options{.kind = SamplerKind::kDdim, .steps = 3, .eta = 1.0};
  const NoiseSchedule schedule = linear();
  const auto steps = make_sampler_steps(schedule, PredictionType::kEpsilon, options);
  ASSERT_EQ(steps.size(), 3U);
  EXPECT_EQ(steps[0].t, 999);
  EXPECT_EQ(steps[0].t_prev, 666);
  EXPECT_EQ(steps[1].t, 666);
  EXPECT_EQ(steps[1].t_prev, 332);
  EXPECT_EQ(steps[2].t, 332);
  EXPECT_EQ(steps[2].t_prev, -1);
  EXPECT_EQ(steps[2].alpha_bar_prev, 1.0);
  EXPECT_EQ(steps[1].alpha_bar_prev, schedule.alphas_cumprod[332].item<double>());
}

TEST(SamplerStepTest, LastStepGivesThePredictionWithoutNoiseWhateverItsTimestep) {
  for (SamplerOptions options : every_sampler()) {
    for (const TimestepSpacing spacing : kEverySpacing) {
      options.spacing = spacing;
      options.steps = 10;  // trailing ends at t = 99, where fixed_large would add 0.1 of noise
      const auto last = make_sampler_steps(linear(), PredictionType::kSample, options).back();
      EXPECT_EQ(last.sigma, 0.0);
      EXPECT_NEAR(last.coef_x_start, 1.0, 1e-12);
      EXPECT_NEAR(last.coef_x_t, 0.0, 1e-12);
    }
  }
}

TEST(SamplerStepTest, AncestralAtEveryTimestepTakesTheScheduleTables) {
  NoiseSchedule schedule = linear();
  for (const VarianceType variance : {VarianceType::kFixedSmall, VarianceType::kFixedLarge}) {
    schedule.variance = variance;
    const Tensor& table =
        variance == VarianceType::kFixedSmall ? schedule.posterior_variance : schedule.betas;
    const auto steps =
        make_sampler_steps(schedule, PredictionType::kEpsilon, {.kind = SamplerKind::kDdpm});
    ASSERT_EQ(steps.size(), 1000U);
    for (const SamplerStep& s : steps) {
      ASSERT_NEAR(s.coef_x_start, schedule.posterior_mean_coef1[s.t].item<double>(), 1e-11);
      ASSERT_NEAR(s.coef_x_t, schedule.posterior_mean_coef2[s.t].item<double>(), 1e-11);
      if (s.t > 0) {
        ASSERT_NEAR(s.sigma * s.sigma, table[s.t].item<double>(), 1e-13);
      }
    }
  }
}

TEST(SamplerStepTest, StridedAncestralRecomputesBeta) {
  const NoiseSchedule schedule = linear();
  const auto steps = make_sampler_steps(
      schedule, PredictionType::kEpsilon,
      {.kind = SamplerKind::kDdpm, .steps = 10, .variance = VarianceOverride::kFixedLarge});
  // From t = 999 to 899 the 100 links between them act as one of this beta.
  const double beta = 1 - schedule.alphas.slice(0, 900, 1000).prod().item<double>();
  EXPECT_NEAR(steps[0].sigma, std::sqrt(beta), 1e-12);
}

TEST(SamplerStepTest, DdimAtEtaOneIsAncestralWithTheSmallVariance) {
  for (const int64_t num_steps : {20, 1000}) {
    const auto ddim =
        make_sampler_steps(linear(), PredictionType::kEpsilon,
                           {.kind = SamplerKind::kDdim, .steps = num_steps, .eta = 1.0});
    const auto ddpm = make_sampler_steps(linear(), PredictionType::kEpsilon,
                                         {.kind = SamplerKind::kDdpm, .steps = num_steps});
    ASSERT_EQ(ddim.size(), ddpm.size());
    for (size_t i = 0; i < ddim.size(); ++i) {
      ASSERT_NEAR(ddim[i].coef_x_start, ddpm[i].coef_x_start, 1e-11);
      ASSERT_NEAR(ddim[i].coef_x_t, ddpm[i].coef_x_t, 1e-11);
      ASSERT_NEAR(ddim[i].sigma, ddpm[i].sigma, 1e-12);
    }
  }
}

TEST(SamplerStepTest, DefaultStepCountsDependOnTheSampler) {
  EXPECT_EQ(count_sampler_steps({.kind = SamplerKind::kDdpm}, 300), 300);
  EXPECT_EQ(count_sampler_steps({.kind = SamplerKind::kDdim}, 300), 50);
  EXPECT_EQ(count_sampler_steps({.kind = SamplerKind::kDdim}, 20), 20);
  EXPECT_EQ(count_sampler_steps({.kind = SamplerKind::kDdim, .steps = 7}, 20), 7);
}

TEST(SamplerStepTest, XStartComesFromEveryPredictionAndEpsIsDerivedAgainAfterClipping) {
  at::manual_seed(0);
  const NoiseSchedule schedule = short_schedule();
  const auto x_t = at::randn({3, 1, 4, 4}) * 2;
  const auto output = at::randn_like(x_t);
  for (const PredictionType prediction : kEveryPrediction) {
    const SamplerOptions options{.kind = SamplerKind::kDdim, .steps = 10};
    const SamplerStep step = make_sampler_steps(schedule, prediction, options)[4];
    const auto result = sampler_step(step, options, x_t, output, {});
    const auto t = at::full({3}, step.t, at::kLong);
    const auto x_start = predict_x_start(schedule, prediction, x_t, t, output).clamp(-1, 1);
    EXPECT_GT((x_start.abs() == 1).sum().item<int64_t>(), 0);  // some are clipped
    EXPECT_TRUE(tensors_near(result.pred_x_start, x_start, 1e-5));

    const auto eps = predict_eps(schedule, PredictionType::kSample, x_t, t, x_start);
    EXPECT_TRUE(tensors_near(eps_of_step(step, x_t, result.pred_x_start), eps, 1e-5));
    const auto x_prev = std::sqrt(step.alpha_bar_prev) * x_start +  // [DDIM Eq. 12], eta = 0
                        std::sqrt(1 - step.alpha_bar_prev) * eps;
    EXPECT_TRUE(tensors_near(result.x_prev, x_prev, 1e-5));
  }
}

TEST(SamplerStepTest, DynamicThresholdScalesEachImageByItsOwnQuantile) {
  const SamplerOptions options{.clip = X0Clip::kDynamic, .dynamic_ratio = 0.75, .dynamic_max = 3};
  // Magnitudes sorted: image 0 has 0 1 2 4 4: its 0.75 quantile is 4 * 0.75 = index 3, limited to
  // 3. Image 1 stays below 1. Image 2 has 0 0 1 2 8: index 3 is 2.
  const auto x_start = at::tensor({0.0, -1.0, 2.0, 4.0, -4.0,  //
                                   0.1, -0.2, 0.3, 0.9, 1.0,   //
                                   0.0, 0.0, 1.0, -2.0, 8.0},
                                  at::kFloat)
                           .view({3, 1, 1, 5});
  const auto expected = at::tensor({0.0, -1.0 / 3, 2.0 / 3, 1.0, -1.0,  //
                                    0.1, -0.2, 0.3, 0.9, 1.0,           //
                                    0.0, 0.0, 0.5, -1.0, 1.0},
                                   at::kFloat)
                            .view({3, 1, 1, 5});
  EXPECT_TRUE(tensors_near(clip_x_start(options, x_start), expected, 1e-6));
}

TEST(SamplerStepTest, DynamicThresholdInterpolatesAsAtQuantileDoes) {
  at::manual_seed(0);
  for (const double ratio : {0.0, 0.31, 0.9, 0.995, 1.0}) {
    for (const int64_t size : {1, 2, 5, 33}) {
      const auto x_start = at::randn({4, 1, 1, size}) * 4;
      const auto s = x_start.abs().view({4, size}).quantile(ratio, 1).clamp(1, 100);
      const auto scale = s.view({4, 1, 1, 1});
      const auto expected = at::minimum(at::maximum(x_start, -scale), scale) / scale;
      const SamplerOptions options{.clip = X0Clip::kDynamic, .dynamic_ratio = ratio};
      EXPECT_TRUE(tensors_near(clip_x_start(options, x_start), expected, 1e-5)) << ratio;
    }
  }
}

TEST(SamplerStepTest, NothingIsReadOnTheHost) {
  const auto x_t = at::randn({2, 3, 4, 4});
  for (const X0Clip clip : {X0Clip::kNone, X0Clip::kClip, X0Clip::kDynamic}) {
    const SamplerOptions options{.kind = SamplerKind::kDdpm, .clip = clip};
    const auto step = make_sampler_steps(linear(), PredictionType::kEpsilon, options).front();
    EXPECT_THAT(host_reads([&] {
                  const auto result = sampler_step(step, options, x_t, x_t, x_t);
                  eps_of_step(step, x_t, result.pred_x_start);
                }),
                IsEmpty());
  }
}

TEST(SamplerStepTest, ZeroTerminalSnrBeginsWithTheMarginalOfThePrediction) {
  const NoiseSchedule schedule =
      make_schedule(rescale_zero_terminal_snr(make_linear_betas(1000, 1e-4, 0.02)));
  for (SamplerOptions options : every_sampler()) {
    options.steps = 10;
    const auto first = make_sampler_steps(schedule, PredictionType::kVelocity, options).front();
    EXPECT_EQ(first.t, 999);
    EXPECT_EQ(first.alpha_bar, 0.0);
    EXPECT_EQ(first.x_start_from_x_t, 0.0);
    EXPECT_EQ(first.x_start_from_output, -1.0);
    EXPECT_NEAR(first.coef_x_start, std::sqrt(first.alpha_bar_prev), 1e-12);
    if (options.variance == VarianceOverride::kFixedLarge) continue;
    EXPECT_NEAR(first.coef_x_t * first.coef_x_t + first.sigma * first.sigma,
                1 - first.alpha_bar_prev, 1e-12);
  }
}

TEST(SamplerStepTest, ErrorsNameTheOption) {
  const NoiseSchedule schedule = linear();
  const auto make = [&](const SamplerOptions& options) {
    return [=] { make_sampler_steps(schedule, PredictionType::kEpsilon, options); };
  };
  EXPECT_THAT(make({.steps = 1001}), ThrowsMessage<std::invalid_argument>(
                                         "[count_sampler_steps] steps must not exceed the "
                                         "schedule's timesteps: expected 0 to 1000, got 1001"));
  EXPECT_THROW(make({.steps = -1})(), std::invalid_argument);
  EXPECT_THAT(make({.eta = 1.5}), ThrowsMessage<std::invalid_argument>(HasSubstr("eta")));
  EXPECT_THAT(make({.eta = std::nan("")}), ThrowsMessage<std::invalid_argument>(HasSubstr("eta")));
  EXPECT_THAT(make({.dynamic_ratio = -0.1}),
              ThrowsMessage<std::invalid_argument>(HasSubstr("dynamic_ratio")));
  EXPECT_THAT(make({.dynamic_max = 0.5}),
              ThrowsMessage<std::invalid_argument>(HasSubstr("dynamic_max")));

  const NoiseSchedule zero_snr = make_schedule(make_jsd_betas(100));
  EXPECT_THAT([&] { make_sampler_steps(zero_snr, PredictionType::kEpsilon, {}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("got epsilon")));
  EXPECT_THAT(
      [&] {
        make_sampler_steps(zero_snr, PredictionType::kVelocity,
                           {.steps = 10, .spacing = TimestepSpacing::kLeading});
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("expected 99, got 90")));

  const auto x_t = at::zeros({2, 3, 4, 4});
  const SamplerOptions ddpm{.kind = SamplerKind::kDdpm};
  const auto step = make_sampler_steps(schedule, PredictionType::kEpsilon, ddpm).front();
  EXPECT_THAT(
      [&] {
        sampler_step(step, ddpm, x_t, at::zeros({2, 6, 4, 4}), x_t);
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("got [2, 6, 4, 4]")));
  EXPECT_THROW(sampler_step(step, ddpm, x_t, x_t, {}), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
