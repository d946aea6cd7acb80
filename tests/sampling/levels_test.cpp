#include "ddpm/sampling/levels.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "ddpm/diffusion/betas.h"
#include "sampling/sampler_cases.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::kEverySpacing;
using testing::long_schedule;
using ::testing::ThrowsMessage;

constexpr LevelSpacing kEveryLevelSpacing[] = {LevelSpacing::kTimesteps, LevelSpacing::kKarras,
                                               LevelSpacing::kExponential,
                                               LevelSpacing::kUniformLambda};

/// A schedule whose sigmas go from 0.001 to 100 in equal steps of their logarithm.
NoiseSchedule edm_schedule() {
  const Tensor sigmas = at::linspace(std::log(0.001), std::log(100), 1000, at::kDouble).exp();
  const Tensor alpha_bars = 1 / (1 + sigmas * sigmas);
  const Tensor before = at::cat({at::ones({1}, at::kDouble), alpha_bars.slice(0, 0, 999)});
  return make_schedule(1 - alpha_bars / before);
}

TEST(LevelsTest, TheTwoViewsAreInverseAndLambdaIsMinusLogSigma) {
  for (const double alpha_bar : {4e-5, 0.1, 0.5, 0.99, 0.9999}) {
    EXPECT_NEAR(alpha_bar_of_sigma(edm_sigma(alpha_bar)) / alpha_bar, 1, 1e-12);
    EXPECT_NEAR(lambda_of(alpha_bar), 0.5 * std::log(alpha_bar / (1 - alpha_bar)), 1e-12);
  }
  EXPECT_EQ(edm_sigma(1), 0);
  EXPECT_TRUE(std::isinf(edm_sigma(0)));
  EXPECT_NEAR(edm_sigma(4.035829765375694e-05), 157.407, 1e-3);  // the linear schedule's last
}

// The 18 sigmas of EDM's CIFAR-10 sampler, published to five digits.
TEST(LevelsTest, KarrasListIsTheOneOfEdm) {
  const double published[] = {80,      57.586,  40.786,   28.375,   19.352,   12.91,
                              8.4009,  5.3152,  3.2568,   1.9233,   1.0882,   0.58535,
                              0.29644, 0.13952, 0.059947, 0.022935, 0.007528, 0.002};
  const auto levels = make_levels(
      edm_schedule(),
      {.steps = 18, .levels = LevelSpacing::kKarras, .sigma_min = 0.002, .sigma_max = 80});
  ASSERT_EQ(levels.size(), 19U);
  for (size_t i = 0; i < 18; ++i)
    EXPECT_NEAR(edm_sigma(levels[i].alpha_bar) / published[i], 1, 1e-4) << i;
  EXPECT_EQ(levels.back().alpha_bar, 1);
  EXPECT_EQ(levels.back().t, -1);
}

TEST(LevelsTest, RhoOneTakesEqualStepsOfSigmaAndExponentialEqualStepsOfLambda) {
  const auto sigmas_of = [](LevelSpacing spacing, double rho) {
    std::vector<double> sigmas;
    for (const NoiseLevel& level :
         make_levels(long_schedule(), {.steps = 9, .levels = spacing, .rho = rho}))
      sigmas.push_back(edm_sigma(level.alpha_bar));
    return sigmas;
  };
  const auto linear = sigmas_of(LevelSpacing::kKarras, 1);
  const auto exponential = sigmas_of(LevelSpacing::kExponential, 7);
  for (size_t i = 1; i + 2 < linear.size(); ++i) {
    EXPECT_NEAR(linear[i] - linear[i + 1], linear[0] - linear[1], 1e-9);
    EXPECT_NEAR(exponential[i] / exponential[i + 1], exponential[0] / exponential[1], 1e-9);
  }
  EXPECT_EQ(sigmas_of(LevelSpacing::kUniformLambda, 7), exponential);
}

std::vector<double> timesteps_of(const SamplerOptions& options) {
  std::vector<double> timesteps;
  for (const NoiseLevel& level : make_levels(long_schedule(), options)) {
    timesteps.push_back(level.t);
  }
  return timesteps;
}

// Lists that diffusers' DPM-Solver gives for 1000 timesteps and 4 steps.
TEST(LevelsTest, DroppingTheLastTakesAListOfOneMore) {
  using enum TimestepSpacing;
  SamplerOptions options{.steps = 4, .spacing = kLinspace, .drop_last = true};
  EXPECT_EQ(timesteps_of(options), (std::vector<double>{999, 749, 500, 250, -1}));
  options.spacing = kLeading;
  EXPECT_EQ(timesteps_of(options), (std::vector<double>{800, 600, 400, 200, -1}));
  options.steps_offset = 1;
  EXPECT_EQ(timesteps_of(options), (std::vector<double>{801, 601, 401, 201, -1}));
  options.spacing = kTrailing;  // neither option means anything to it
  EXPECT_EQ(timesteps_of(options), (std::vector<double>{999, 749, 499, 249, -1}));
}

TEST(LevelsTest, ListsMayEndAtTheFirstTimestep) {
  SamplerOptions options{.steps = 2, .final_sigma = FinalSigma::kSigmaMin};
  EXPECT_EQ(timesteps_of(options), (std::vector<double>{999, 499, 0}));
  EXPECT_EQ(make_levels(long_schedule(), options).back().alpha_bar, 1 - 1e-4);
  options.spacing = TimestepSpacing::kLeading;  // ends there by itself
  EXPECT_EQ(timesteps_of(options), (std::vector<double>{500, 0}));
  options.levels = LevelSpacing::kKarras;
  EXPECT_EQ(timesteps_of(options).size(), 2U);
}

// Sigma of the cosine schedule goes from 642 to 20,291 in its last step (docs/samplers.md).
TEST(LevelsTest, AutoKeepsFiveSamplersOffSteepEnds) {
  using enum SamplerKind;
  const NoiseSchedule steep = make_schedule(make_cosine_betas(1000));
  for (const SamplerKind kind : {kHeun, kDpm2s, kDpm3s, kPndm, kPlms}) {
    const auto automatic = make_levels(steep, {.kind = kind, .steps = 9});
    const auto karras =
        make_levels(steep, {.steps = 9, .levels = LevelSpacing::kKarras, .sigma_max = 80});
    EXPECT_NEAR(edm_sigma(automatic.front().alpha_bar), 80, 1e-9) << enum_word(kind);
    ASSERT_EQ(automatic.size(), karras.size());
    for (size_t i = 0; i < karras.size(); ++i) EXPECT_EQ(automatic[i].t, karras[i].t) << i;
    EXPECT_EQ(make_levels(long_schedule(), {.kind = kind, .steps = 9}).front().t, 999);
    const NoiseSchedule zero_snr =
        make_schedule(rescale_zero_terminal_snr(make_linear_betas(1000, 1e-4, 0.02)));
    EXPECT_EQ(make_levels(zero_snr, {.kind = kind, .steps = 9}).front().alpha_bar, 0);
  }
  for (const SamplerKind kind : {kDdim, kDpmpp2m, kUnipc, kLms}) {
    EXPECT_EQ(make_levels(steep, {.kind = kind, .steps = 9}).front().t, 999) << enum_word(kind);
  }
  EXPECT_EQ(resolve_levels(steep, {.kind = kHeun, .sigma_max = 30}).sigma_max, 30);
}

TEST(LevelsTest, OffsetsAndDroppingKeepWithinTheSchedule) {
  SamplerOptions options{.steps = 1000, .spacing = TimestepSpacing::kLeading, .steps_offset = 1};
  const auto make = [&] { make_levels(long_schedule(), options); };
  EXPECT_THAT(make, ThrowsMessage<std::invalid_argument>(HasSubstr("expected 0 to 0")));
  options = {.steps = 1000, .spacing = TimestepSpacing::kLinspace, .drop_last = true};
  EXPECT_THAT(make, ThrowsMessage<std::invalid_argument>(HasSubstr("expected 0 to 999")));
}

TEST(LevelsTest, EveryListClimbsFromTheNoisiestLevelToTheImage) {
  for (const LevelSpacing levels_at : kEveryLevelSpacing) {
    for (const TimestepSpacing spacing : kEverySpacing) {
      for (const int64_t steps : {1, 2, 18, 100}) {
        const auto levels =
            make_levels(long_schedule(), {.steps = steps, .spacing = spacing, .levels = levels_at});
        ASSERT_EQ(static_cast<int64_t>(levels.size()), steps + 1);
        for (size_t i = 1; i < levels.size(); ++i) {
          ASSERT_GT(levels[i].alpha_bar, levels[i - 1].alpha_bar);
          ASSERT_LT(levels[i].t, levels[i - 1].t);
        }
        if (levels_at != LevelSpacing::kTimesteps || spacing != TimestepSpacing::kLeading) {
          EXPECT_NEAR(levels.front().t, 999, 1e-6);
        }
      }
    }
  }
}

TEST(LevelsTest, FractionalTimestepsLieOnStraightLinesOfLogSigma) {
  const LevelTable table = make_level_table(long_schedule());
  const double low = edm_sigma(level_at_timestep(table, 500).alpha_bar);
  const double high = edm_sigma(level_at_timestep(table, 501).alpha_bar);
  EXPECT_NEAR(edm_sigma(level_at_timestep(table, 500.5).alpha_bar), std::sqrt(low * high), 1e-12);
  for (const double t : {0.0, 0.25, 17.0, 500.75, 998.9, 999.0}) {
    const NoiseLevel level = level_at_timestep(table, t);
    EXPECT_NEAR(level_at_sigma(table, edm_sigma(level.alpha_bar)).t, t, 1e-9);
  }
  EXPECT_EQ(level_at_sigma(table, 1e-3).t, 0);
  EXPECT_EQ(level_at_sigma(table, 1e3).t, 999);
  EXPECT_NEAR(edm_sigma(level_at_sigma(table, 1e3).alpha_bar), 1e3, 1e-6);
}

TEST(LevelsTest, DefaultStepCountsDependOnTheSampler) {
  const auto count = [](const SamplerOptions& options, int64_t num_timesteps) {
    return count_sampler_steps(options, num_timesteps);
  };
  EXPECT_EQ(count({.kind = SamplerKind::kDdpm}, 300), 300);
  EXPECT_EQ(count({.kind = SamplerKind::kDdim}, 300), 50);
  EXPECT_EQ(count({.kind = SamplerKind::kDpmpp2m}, 300), 20);
  EXPECT_EQ(count({.kind = SamplerKind::kDdim}, 20), 20);
  EXPECT_EQ(count({.kind = SamplerKind::kDdim, .steps = 7}, 20), 7);
  EXPECT_EQ(count({.steps = 70, .levels = LevelSpacing::kKarras}, 20), 70);
}

TEST(LevelsTest, ErrorsNameTheOption) {
  const auto make = [](const SamplerOptions& options) {
    return [=] { make_levels(long_schedule(), options); };
  };
  EXPECT_THAT(make({.steps = 1001}), ThrowsMessage<std::invalid_argument>(
                                         "[count_sampler_steps] steps must not exceed the "
                                         "schedule's timesteps: expected 0 to 1000, got 1001"));
  EXPECT_THROW(make({.steps = -1})(), std::invalid_argument);
  EXPECT_THAT(
      make(
          {.steps = 1, .spacing = TimestepSpacing::kLeading, .final_sigma = FinalSigma::kSigmaMin}),
      ThrowsMessage<std::invalid_argument>(HasSubstr("[make_levels] steps: expected 2")));
  EXPECT_THAT(make({.levels = LevelSpacing::kKarras, .sigma_min = 2, .sigma_max = 1}),
              ThrowsMessage<std::invalid_argument>(HasSubstr("sigma_min and sigma_max")));
  EXPECT_THROW(make({.levels = LevelSpacing::kKarras, .sigma_max = 200})(), std::invalid_argument);
  const NoiseSchedule zero_snr = make_schedule(make_jsd_betas(100));
  EXPECT_THAT([&] { make_levels(zero_snr, {.levels = LevelSpacing::kKarras}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("need a finite sigma")));
  EXPECT_THAT([&] { make_levels(zero_snr, {.steps = 10, .spacing = TimestepSpacing::kLeading}); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("expected 99, got 90")));
  const LevelTable table = make_level_table(zero_snr);
  EXPECT_THROW(level_at_timestep(table, 98.5), std::invalid_argument);
  EXPECT_THROW(level_at_timestep(table, -0.5), std::invalid_argument);
  EXPECT_THROW(level_at_sigma(table, 0), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
