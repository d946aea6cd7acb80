#include "ddpm/diffusion/noise_schedule.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <array>
#include <cmath>
#include <stdexcept>

#include "ddpm/diffusion/betas.h"
#include "diffusion/schedules.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::at_index;
using testing::every_schedule;
using ::testing::HasSubstr;
using testing::name_of;
using testing::tensors_near;
using ::testing::ThrowsMessage;

NoiseSchedule make(ScheduleKind kind, int64_t num_timesteps) {
  DiffusionConfig config;
  config.schedule = kind;
  config.num_timesteps = num_timesteps;
  return make_noise_schedule(config);
}

struct AlphaBarRow {
  ScheduleKind kind;
  int64_t num_timesteps;
  std::array<double, 5> alpha_bar;  // at 0, 1, T/10, T/2, T-1
};

// Computed with NumPy in float64, printed with 7 digits.
TEST(NoiseScheduleTest, AlphaBarHasTheKnownValues) {
  const std::vector<AlphaBarRow> rows{
      {ScheduleKind::kLinear,
       1000,
       {9.999000e-01, 9.997801e-01, 8.951416e-01, 7.779666e-02, 4.035830e-05}},
      {ScheduleKind::kLinearScaled,
       4000,
       {9.999750e-01, 9.999488e-01, 8.959973e-01, 7.874648e-02, 4.246652e-05}},
      {ScheduleKind::kLinear,
       300,
       {9.999000e-01, 9.997335e-01, 9.665015e-01, 4.623452e-01, 4.805843e-02}},
      {ScheduleKind::kCosine,
       1000,
       {9.999587e-01, 9.999126e-01, 9.715757e-01, 4.922852e-01, 2.428767e-09}},
      {ScheduleKind::kCosine,
       4000,
       {9.999901e-01, 9.999800e-01, 9.719639e-01, 4.934540e-01, 1.517980e-10}}};
  for (const auto& [kind, num_timesteps, expected] : rows) {
    const NoiseSchedule s = make(kind, num_timesteps);
    const std::array<int64_t, 5> at{0, 1, num_timesteps / 10, num_timesteps / 2, num_timesteps - 1};
    for (size_t i = 0; i < at.size(); ++i) {
      EXPECT_NEAR(at_index(s.alphas_cumprod, at[i]) / expected[i], 1, 5.1e-7)
          << "T = " << num_timesteps << ", t = " << at[i];
    }
  }
}

TEST(NoiseScheduleTest, PosteriorOfTheLinearScheduleHasTheKnownValues) {
  const NoiseSchedule s = make(ScheduleKind::kLinear, 1000);
  struct Row {
    int64_t t;
    double variance, coef1, coef2;
  };
  for (const Row& row :
       {Row{1, 5.453188e-5, 0.5452915, 0.4547085}, Row{10, 2.584636e-4, 0.1362779, 0.8637221},
        Row{500, 1.005134e-2, 3.058057e-3, 0.9941044},
        Row{999, 1.999998e-2, 1.283515e-4, 0.9899487}}) {
    EXPECT_NEAR(at_index(s.posterior_variance, row.t) / row.variance, 1, 5.1e-7) << row.t;
    EXPECT_NEAR(at_index(s.posterior_mean_coef1, row.t) / row.coef1, 1, 5.1e-7) << row.t;
    EXPECT_NEAR(at_index(s.posterior_mean_coef2, row.t) / row.coef2, 1, 5.1e-7) << row.t;
  }
}

// Reference: diffusers tests/schedulers/test_scheduler_ddpm.py, test_variance.
TEST(NoiseScheduleTest, PosteriorVarianceMatchesDiffusers) {
  const NoiseSchedule s = make(ScheduleKind::kLinear, 1000);
  EXPECT_EQ(at_index(s.posterior_variance, 0), 0.0);
  EXPECT_NEAR(at_index(s.posterior_variance, 487), 0.00979, 1e-5);
  EXPECT_NEAR(at_index(s.posterior_variance, 999), 0.02, 1e-5);
}

TEST(NoiseScheduleTest, NoiseToSignalRangeOfTheLinearScheduleIsKnown) {
  const Tensor sigmas = make(ScheduleKind::kLinear, 1000).snr.rsqrt();
  EXPECT_NEAR(at_index(sigmas, 0), 0.0100, 5e-5);
  EXPECT_NEAR(at_index(sigmas, 999), 157.4, 0.05);
}

TEST(NoiseScheduleTest, PriorOfTheLinearScheduleIsSevenMillionthsOfABitAway) {
  const double alpha_bar = at_index(make(ScheduleKind::kLinear, 1000).alphas_cumprod, 999);
  const double nats = 0.5 * (0.25 * alpha_bar - alpha_bar - std::log1p(-alpha_bar));
  EXPECT_NEAR(nats / std::log(2.0), 7.3e-6, 5e-8);  // KL(q(x_T) || N(0, 1)) at E[x_0^2] = 0.25
}

// The talk's schedule: betas = linspace(1e-4, 0.02, 300). The oracle is a plain long double loop.
TEST(NoiseScheduleTest, TablesOfTheTalkMatchALoop) {
  const NoiseSchedule s = make(ScheduleKind::kLinear, 300);
  long double alpha_bar = 1.0L;
  for (int64_t t = 0; t < 300; ++t) {
    const long double beta = 1e-4L + (0.02L - 1e-4L) * static_cast<long double>(t) / 299.0L;
    const long double previous = alpha_bar;
    alpha_bar *= 1 - beta;
    const auto near = [t](const Tensor& table, long double expected) {
      const auto value = static_cast<double>(expected);
      // 1 - alpha_bar_0 = 1e-4 from doubles near 1: good to 1e-16 / 1e-4.
      EXPECT_NEAR(at_index(table, t), value, 2e-12 * std::max(1.0, std::abs(value))) << t;
    };
    near(s.betas, beta);
    near(s.alphas, 1 - beta);
    near(s.alphas_cumprod, alpha_bar);
    near(s.alphas_cumprod_prev, previous);
    near(s.sqrt_alphas, std::sqrt(1 - beta));
    near(s.sqrt_betas, std::sqrt(beta));
    near(s.sqrt_alphas_cumprod, std::sqrt(alpha_bar));
    near(s.sqrt_one_minus_alphas_cumprod, std::sqrt(1 - alpha_bar));
    near(s.sqrt_recip_alphas, 1 / std::sqrt(1 - beta));
    near(s.sqrt_recip_alphas_cumprod, 1 / std::sqrt(alpha_bar));
    near(s.sqrt_recipm1_alphas_cumprod, std::sqrt(1 / alpha_bar - 1));
    near(s.posterior_variance, beta * (1 - previous) / (1 - alpha_bar));
    near(s.posterior_mean_coef1, beta * std::sqrt(previous) / (1 - alpha_bar));
    near(s.posterior_mean_coef2, (1 - previous) * std::sqrt(1 - beta) / (1 - alpha_bar));
    near(s.snr, alpha_bar / (1 - alpha_bar));
  }
  EXPECT_NEAR(at_index(s.sqrt_alphas_cumprod, 299), 0.219, 5e-4);  // 22% of the signal is left
}

TEST(NoiseScheduleTest, EveryTableIsFloat64AndHasTEntries) {
  for (const DiffusionConfig& config : every_schedule(50)) {
    NoiseSchedule s = make_noise_schedule(config);
    int64_t count = 0;
    s.visit_tables([&](const char* name, const Tensor& table) {
      EXPECT_EQ(table.scalar_type(), at::kDouble) << name;
      EXPECT_EQ(table.sizes(), at::IntArrayRef({50})) << name;
      EXPECT_FALSE(table.isnan().any().item<bool>()) << name_of(config) << " " << name;
      ++count;
    });
    EXPECT_EQ(count, 15);
    EXPECT_EQ(s.num_timesteps(), 50);
  }
}

TEST(NoiseScheduleTest, ZeroTerminalSnrIsSeenAndLeavesThePosteriorFinite) {
  DiffusionConfig config;
  config.zero_terminal_snr = true;
  config.prediction = PredictionType::kVelocity;
  const NoiseSchedule s = make_noise_schedule(config);
  EXPECT_TRUE(s.zero_terminal_snr);
  EXPECT_EQ(at_index(s.snr, -1), 0.0);
  EXPECT_EQ(at_index(s.posterior_mean_coef2, -1), 0.0);
  EXPECT_NEAR(at_index(s.posterior_mean_coef1, -1), at_index(s.sqrt_alphas_cumprod, -2), 1e-15);
  EXPECT_NEAR(at_index(s.posterior_variance, -1), 1 - at_index(s.alphas_cumprod, -2), 1e-15);
  EXPECT_FALSE(make(ScheduleKind::kLinear, 1000).zero_terminal_snr);
  EXPECT_FALSE(make(ScheduleKind::kCosine, 1000).zero_terminal_snr);
}

TEST(NoiseScheduleTest, VarianceComesFromTheConfig) {
  DiffusionConfig config;
  EXPECT_EQ(make_noise_schedule(config).variance, VarianceType::kFixedSmall);
  config.variance = VarianceType::kFixedLarge;
  EXPECT_EQ(make_noise_schedule(config).variance, VarianceType::kFixedLarge);
}

TEST(NoiseScheduleTest, ToMovesEveryTable) {
  NoiseSchedule moved = make(ScheduleKind::kLinear, 10).to(at::kMeta);
  moved.visit_tables([](const char* name, const Tensor& table) {
    EXPECT_EQ(table.device().type(), at::kMeta) << name;
  });
  EXPECT_EQ(moved.num_timesteps(), 10);
}

TEST(NoiseScheduleTest, OneTimestepIsASchedule) {
  const NoiseSchedule s = make(ScheduleKind::kLinear, 1);
  EXPECT_DOUBLE_EQ(at_index(s.alphas_cumprod, 0), 1 - 1e-4);
  EXPECT_EQ(at_index(s.posterior_variance, 0), 0.0);
}

TEST(NoiseScheduleTest, BetasOutsideTheirRangeAreRefused) {
  const auto of = [](std::vector<double> betas) {
    return [betas] { make_schedule(at::tensor(betas, at::kDouble)); };
  };
  EXPECT_THAT(of({0.1, 1.5}), ThrowsMessage<std::invalid_argument>(HasSubstr("got [0.1, 1.5]")));
  EXPECT_THROW(of({0.0, 0.1})(), std::invalid_argument);
  EXPECT_THROW(of({})(), std::invalid_argument);
  EXPECT_THROW(of({0.1, std::nan("")})(), std::invalid_argument);
  EXPECT_THROW(make_schedule(at::full({2, 2}, 0.1)), std::invalid_argument);
  EXPECT_THROW(make_schedule(at::ones({2}, at::kLong)), std::invalid_argument);
  EXPECT_THAT(of({1.0, 0.1}), ThrowsMessage<std::invalid_argument>(HasSubstr("only the last")));
  // Not one beta is 1, but 0.999^T falls below the smallest double.
  EXPECT_THAT([] { make_schedule(at::full({200}, 0.999, at::kDouble)); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("only the last")));
  EXPECT_NO_THROW(of({0.5, 1.0})());
}

TEST(NoiseScheduleTest, EpsilonIsRefusedWithZeroTerminalSnr) {
  DiffusionConfig config;
  config.zero_terminal_snr = true;
  EXPECT_THAT([&] { make_noise_schedule(config); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("got epsilon")));
  EXPECT_THROW(make(ScheduleKind::kJsd, 10), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
