#include "ddpm/diffusion/betas.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

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

Tensor alpha_bar_of(const Tensor& betas) { return (1 - betas).cumprod(0); }

TEST(BetasTest, EveryScheduleGivesFloat64BetasBetweenZeroAndOne) {
  for (const int64_t num_timesteps : {25, 300, 1000}) {
    for (const DiffusionConfig& config : every_schedule(num_timesteps)) {
      SCOPED_TRACE(name_of(config));
      const Tensor betas = make_betas(config);
      EXPECT_EQ(betas.scalar_type(), at::kDouble);
      ASSERT_EQ(betas.sizes(), at::IntArrayRef({num_timesteps}));
      EXPECT_GT(betas.min().item<double>(), 0);
      EXPECT_LT(betas.slice(0, 0, -1).max().item<double>(), 1);
      EXPECT_LE(at_index(betas, -1), 1);
    }
  }
}

TEST(BetasTest, LinearHasBothEndsAndEqualSteps) {
  const Tensor betas = make_linear_betas(300, 1e-4, 0.02);
  EXPECT_DOUBLE_EQ(at_index(betas, 0), 1e-4);
  EXPECT_DOUBLE_EQ(at_index(betas, 299), 0.02);
  EXPECT_NEAR(at_index(betas, 100), 1e-4 + 100 * (0.02 - 1e-4) / 299, 1e-17);
}

TEST(BetasTest, LinearScaledMultipliesBothEndsByThousandOverT) {
  DiffusionConfig config;
  config.schedule = ScheduleKind::kLinearScaled;
  config.num_timesteps = 250;
  EXPECT_TRUE(tensors_near(make_betas(config), make_linear_betas(250, 4e-4, 0.08), 1e-17));
}

TEST(BetasTest, QuadIsLinearInTheRoot) {
  const Tensor betas = make_quad_betas(3, 0.01, 0.09);
  EXPECT_TRUE(tensors_near(betas, at::tensor({0.01, 0.04, 0.09}, at::kDouble), 1e-16));
}

TEST(BetasTest, CosineFollowsItsAlphaBarAndClipsTheLastBetaOnly) {
  for (const int64_t num_timesteps : {1000, 4000}) {
    const Tensor betas = make_cosine_betas(num_timesteps);
    EXPECT_EQ((betas == 0.999).sum().item<int64_t>(), 1);
    EXPECT_DOUBLE_EQ(at_index(betas, -1), 0.999);
    const auto f = [](double s) {
      return std::pow(std::cos((s + 0.008) / 1.008 * std::acos(-1.0) / 2), 2);
    };
    const Tensor alpha_bar = alpha_bar_of(betas);
    for (const int64_t t : {int64_t{0}, num_timesteps / 3, num_timesteps - 2}) {
      const double s = static_cast<double>(t + 1) / static_cast<double>(num_timesteps);
      EXPECT_NEAR(at_index(alpha_bar, t), f(s) / f(0), 1e-12);
    }
  }
}

TEST(BetasTest, SigmoidBetaIsHalfWayInTheMiddle) {
  const Tensor betas = make_sigmoid_beta_betas(101, 1e-4, 0.02);
  EXPECT_NEAR(at_index(betas, 50), (1e-4 + 0.02) / 2, 1e-16);
  EXPECT_NEAR(at_index(betas, 0), 1e-4 + 0.0199 / (1 + std::exp(6.0)), 1e-16);
  EXPECT_NEAR(at_index(betas, 100), 1e-4 + 0.0199 / (1 + std::exp(-6.0)), 1e-16);
}

TEST(BetasTest, SigmoidAlphaBarFollowsItsAlphaBar) {
  const Tensor alpha_bar = alpha_bar_of(make_sigmoid_alpha_bar_betas(1000));
  const auto sigmoid = [](double x) { return 1 / (1 + std::exp(-x)); };
  for (const int64_t t : {0, 99, 499, 998}) {
    const double s = static_cast<double>(t + 1) / 1000;
    const double expected = sigmoid(3 - 6 * s);  // 1 - sigmoid(6 s - 3)
    EXPECT_NEAR(at_index(alpha_bar, t), (expected - sigmoid(-3)) / (sigmoid(3) - sigmoid(-3)),
                1e-12);
  }
  EXPECT_NEAR(at_index(alpha_bar, 499), 0.5, 1e-12);
}

TEST(BetasTest, ConstIsBetaEndThroughout) {
  DiffusionConfig config;
  config.schedule = ScheduleKind::kConst;
  config.num_timesteps = 4;
  config.beta_end = 0.3;
  EXPECT_TRUE(tensors_near(make_betas(config), at::full({4}, 0.3, at::kDouble), 0));
}

TEST(BetasTest, JsdLetsAlphaBarFallInAStraightLine) {
  const Tensor expected = at::linspace(0.9, 0.0, 10, at::kDouble);
  EXPECT_TRUE(tensors_near(alpha_bar_of(make_jsd_betas(10)), expected, 1e-15));
}

TEST(BetasTest, ZeroTerminalSnrEndsAtZeroKeepsTheFirstAndScalesTheRest) {
  for (DiffusionConfig config : every_schedule(1000)) {
    SCOPED_TRACE(name_of(config));
    const Tensor before = alpha_bar_of(make_betas(config)).sqrt();
    config.zero_terminal_snr = true;
    const Tensor betas = make_betas(config);
    const Tensor after = alpha_bar_of(betas).sqrt();
    EXPECT_EQ(at_index(betas, -1), 1.0);
    EXPECT_EQ(at_index(after, -1), 0.0);
    EXPECT_NEAR(at_index(after, 0), at_index(before, 0), 1e-12);
    const Tensor scale = before[0] / (before[0] - before[-1]);
    EXPECT_TRUE(tensors_near(after, (before - before[-1]) * scale, 1e-12));
  }
}

TEST(BetasTest, ErrorsNameTheField) {
  DiffusionConfig config;
  config.beta_end = 1.0;
  EXPECT_THAT([&] { make_betas(config); }, ThrowsMessage<std::invalid_argument>(
                                               "[make_betas] beta_end must lie in (0, 1): got 1"));
  config = {};
  config.beta_start = 0;
  EXPECT_THAT([&] { make_betas(config); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("beta_start")));
  config = {};
  config.num_timesteps = 0;
  EXPECT_THAT([&] { make_betas(config); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("num_timesteps")));
  config = {};
  config.schedule = ScheduleKind::kLinearScaled;
  config.num_timesteps = 19;  // 0.02 * 1000 / 19 > 1
  EXPECT_THAT([&] { make_betas(config); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("num_timesteps 19")));
  config.schedule = ScheduleKind::kCustom;
  config.betas = {0.1, 0.2};
  EXPECT_THAT([&] { make_betas(config); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("19 values, got 2")));
  EXPECT_THROW(rescale_zero_terminal_snr(at::full({1}, 0.1, at::kDouble)), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
