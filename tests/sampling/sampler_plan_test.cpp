#include "ddpm/sampling/sampler_plan.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "sampling/sampler_cases.h"

namespace ddpm {
namespace {

using testing::every_sampler;
using ::testing::HasSubstr;
using testing::kEverySpacing;
using testing::long_schedule;
using ::testing::ThrowsMessage;

// A perfect x_0 makes x_t = sqrt(a) x_0 + sqrt(1 - a) eps. One step must give mean sqrt(p) x_0 and
// variance 1 - p, in closed form: the marginal of the previous timestep in the list.
TEST(SamplerPlanTest, StepLeadsToThePreviousMarginalForEverySamplerAndSpacing) {
  const NoiseSchedule schedule = long_schedule();
  for (SamplerOptions options : every_sampler()) {
    if (options.variance == VarianceOverride::kFixedLarge) continue;  // wider, by definition
    for (const TimestepSpacing spacing : kEverySpacing) {
      for (const int64_t steps : {1, 7, 50, 1000}) {
        options.spacing = spacing;
        options.steps = steps;
        for (const SamplerCall& call :
             make_sampler_plan(schedule, PredictionType::kEpsilon, options).calls) {
          const UpdateRow& row = call.next;
          const double mean = row.pred_x_start + row.x * signal_scale(call.level);
          const double variance =
              row.x * row.x * (1 - call.level.alpha_bar) + row.noise * row.noise;
          ASSERT_NEAR(mean, signal_scale(call.next_level), 1e-12) << "t = " << call.level.t;
          ASSERT_NEAR(variance, 1 - call.next_level.alpha_bar, 1e-12) << "t = " << call.level.t;
        }
      }
    }
  }
}

TEST(SamplerPlanTest, StepsFollowTheListAndEndAtTheImage) {
  SamplerOptions options{.kind = SamplerKind::kDdim, .steps = 3, .eta = 1.0};
  const NoiseSchedule schedule = long_schedule();
  const auto calls = make_sampler_plan(schedule, PredictionType::kEpsilon, options).calls;
  ASSERT_EQ(calls.size(), 3U);
  EXPECT_EQ(calls[0].level.t, 999);
  EXPECT_EQ(calls[0].next_level.t, 666);
  EXPECT_EQ(calls[1].level.t, 666);
  EXPECT_EQ(calls[1].next_level.t, 332);
  EXPECT_EQ(calls[2].level.t, 332);
  EXPECT_EQ(calls[2].next_level.t, -1);
  EXPECT_EQ(calls[2].next_level.alpha_bar, 1.0);
  EXPECT_EQ(calls[1].next_level.alpha_bar, schedule.alphas_cumprod[332].item<double>());
}

TEST(SamplerPlanTest, LastStepGivesThePredictionWithoutNoiseWhateverItsTimestep) {
  for (SamplerOptions options : every_sampler()) {
    for (const TimestepSpacing spacing : kEverySpacing) {
      options.spacing = spacing;
      options.steps = 10;  // trailing ends at t = 99, where fixed_large would add 0.1 of noise
      const auto last =
          make_sampler_plan(long_schedule(), PredictionType::kSample, options).calls.back().next;
      EXPECT_EQ(last.noise, 0.0);
      EXPECT_NEAR(last.pred_x_start, 1.0, 1e-12);
      EXPECT_NEAR(last.x, 0.0, 1e-12);
    }
  }
}

TEST(SamplerPlanTest, AncestralAtEveryTimestepTakesTheScheduleTables) {
  NoiseSchedule schedule = long_schedule();
  for (const VarianceType variance : {VarianceType::kFixedSmall, VarianceType::kFixedLarge}) {
    schedule.variance = variance;
    const Tensor& table =
        variance == VarianceType::kFixedSmall ? schedule.posterior_variance : schedule.betas;
    const auto plan =
        make_sampler_plan(schedule, PredictionType::kEpsilon, {.kind = SamplerKind::kDdpm});
    ASSERT_EQ(plan.calls.size(), 1000U);
    for (const SamplerCall& call : plan.calls) {
      const auto t = static_cast<int64_t>(call.level.t);
      const UpdateRow& row = call.next;
      ASSERT_NEAR(row.pred_x_start, schedule.posterior_mean_coef1[t].item<double>(), 1e-11);
      ASSERT_NEAR(row.x, schedule.posterior_mean_coef2[t].item<double>(), 1e-11);
      ASSERT_EQ(call.noise_step, t);
      if (t > 0) {
        ASSERT_NEAR(row.noise * row.noise, table[t].item<double>(), 1e-13);
      }
    }
  }
}

TEST(SamplerPlanTest, StridedAncestralRecomputesBeta) {
  const NoiseSchedule schedule = long_schedule();
  const auto plan = make_sampler_plan(
      schedule, PredictionType::kEpsilon,
      {.kind = SamplerKind::kDdpm, .steps = 10, .variance = VarianceOverride::kFixedLarge});
  // From t = 999 to 899 the 100 links between them act as one of this beta.
  const double beta = 1 - schedule.alphas.slice(0, 900, 1000).prod().item<double>();
  EXPECT_NEAR(plan.calls[0].next.noise, std::sqrt(beta), 1e-12);
}

TEST(SamplerPlanTest, DdimAtEtaOneIsAncestralWithTheSmallVariance) {
  for (const int64_t num_steps : {20, 1000}) {
    const auto ddim =
        make_sampler_plan(long_schedule(), PredictionType::kEpsilon,
                          {.kind = SamplerKind::kDdim, .steps = num_steps, .eta = 1.0})
            .calls;
    const auto ddpm = make_sampler_plan(long_schedule(), PredictionType::kEpsilon,
                                        {.kind = SamplerKind::kDdpm, .steps = num_steps})
                          .calls;
    ASSERT_EQ(ddim.size(), ddpm.size());
    for (size_t i = 0; i < ddim.size(); ++i) {
      ASSERT_NEAR(ddim[i].next.pred_x_start, ddpm[i].next.pred_x_start, 1e-11);
      ASSERT_NEAR(ddim[i].next.x, ddpm[i].next.x, 1e-11);
      ASSERT_NEAR(ddim[i].next.noise, ddpm[i].next.noise, 1e-12);
    }
  }
}

// Order 1 is DDIM's step, of x and this call's x_0 alone.
bool ends_in_first_order(const SamplerOptions& options) {
  const auto plan = make_sampler_plan(long_schedule(), PredictionType::kEpsilon, options);
  const auto& weights = plan.calls.back().next.memory;
  return std::all_of(weights.begin(), weights.end(), [](double w) { return w == 0; });
}

TEST(SamplerPlanTest, TheLastStepIsOfFirstOrderIfAskedForOrAtTheImage) {
  using enum SamplerKind;
  for (const SamplerKind kind : {kDpmpp2m, kDpmpp2s, kDpm2s, kDeis}) {
    for (const auto end : {FinalSigma::kZero, FinalSigma::kSigmaMin}) {
      for (const bool lower : {true, false}) {
        const SamplerOptions options{
            .kind = kind, .steps = 10, .final_sigma = end, .lower_order_final = lower};
        const bool expected = end == FinalSigma::kZero || lower;
        EXPECT_EQ(ends_in_first_order(options), expected) << enum_word(kind);
      }
    }
  }
}

TEST(SamplerPlanTest, MultistepListsOf15StepsKeepTheirOrderUnlessTheyEndAtTheImage) {
  using enum SamplerKind;
  const auto ends = [](SamplerKind kind, int64_t steps, FinalSigma end) {
    return ends_in_first_order({.kind = kind, .steps = steps, .final_sigma = end});
  };
  for (const SamplerKind kind : {kDpmpp2m, kDpmpp2mSde, kDeis}) {
    EXPECT_TRUE(ends(kind, 14, FinalSigma::kSigmaMin)) << enum_word(kind);
    EXPECT_FALSE(ends(kind, 15, FinalSigma::kSigmaMin)) << enum_word(kind);
    EXPECT_TRUE(ends(kind, 15, FinalSigma::kZero)) << enum_word(kind);
  }
  EXPECT_TRUE(ends(kDpm2s, 16, FinalSigma::kSigmaMin));  // singlestep: at any number
}

TEST(SamplerPlanTest, DefaultStepCountsDependOnTheSampler) {
  EXPECT_EQ(count_sampler_steps({.kind = SamplerKind::kDdpm}, 300), 300);
  EXPECT_EQ(count_sampler_steps({.kind = SamplerKind::kDdim}, 300), 50);
  EXPECT_EQ(count_sampler_steps({.kind = SamplerKind::kDdim}, 20), 20);
  EXPECT_EQ(count_sampler_steps({.kind = SamplerKind::kDdim, .steps = 7}, 20), 7);
}

TEST(SamplerPlanTest, ZeroTerminalSnrBeginsWithTheMarginalOfThePrediction) {
  const NoiseSchedule schedule =
      make_schedule(rescale_zero_terminal_snr(make_linear_betas(1000, 1e-4, 0.02)));
  for (SamplerOptions options : every_sampler()) {
    options.steps = 10;
    const auto first =
        make_sampler_plan(schedule, PredictionType::kVelocity, options).calls.front();
    EXPECT_EQ(first.level.t, 999);
    EXPECT_EQ(first.level.alpha_bar, 0.0);
    EXPECT_EQ(first.x_start_from_x_t, 0.0);
    EXPECT_EQ(first.x_start_from_output, -1.0);
    EXPECT_NEAR(first.next.pred_x_start, signal_scale(first.next_level), 1e-12);
    if (options.variance == VarianceOverride::kFixedLarge) continue;
    EXPECT_NEAR(first.next.x * first.next.x + first.next.noise * first.next.noise,
                1 - first.next_level.alpha_bar, 1e-12);
  }
}

TEST(SamplerPlanTest, ErrorsNameTheOption) {
  const NoiseSchedule schedule = long_schedule();
  const auto make = [&](const SamplerOptions& options) {
    return [=] { make_sampler_plan(schedule, PredictionType::kEpsilon, options); };
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
  EXPECT_THAT([&] { make_sampler_plan(zero_snr, PredictionType::kEpsilon, {}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("got epsilon")));
  EXPECT_THAT(
      [&] {
        make_sampler_plan(zero_snr, PredictionType::kVelocity,
                          {.steps = 10, .spacing = TimestepSpacing::kLeading});
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("expected 99, got 90")));
}

}  // namespace
}  // namespace ddpm
