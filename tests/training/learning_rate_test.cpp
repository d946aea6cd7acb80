#include "ddpm/training/learning_rate.h"

#include <gtest/gtest.h>

#include <cmath>
#include <utility>

namespace ddpm {
namespace {

OptimizerConfig with(LrDecay decay, int64_t warmup_steps, double final_lr_ratio = 0.0) {
  OptimizerConfig config;
  config.lr = 0.4;
  config.decay = decay;
  config.warmup_steps = warmup_steps;
  config.final_lr_ratio = final_lr_ratio;
  return config;
}

TEST(LearningRateTest, WarmupRisesInAStraightLineAndEndsAtLr) {
  const auto config = with(LrDecay::kConstant, 4);
  for (const auto& [step, expected] :
       {std::pair<int64_t, double>{0, 0.1}, {1, 0.2}, {3, 0.4}, {4, 0.4}, {99, 0.4}}) {
    EXPECT_DOUBLE_EQ(learning_rate(config, step, 100), expected) << "step " << step;
  }
}

TEST(LearningRateTest, LinearDecayReachesTheFinalRatioAtTheLastStep) {
  const auto config = with(LrDecay::kLinear, 10, 0.25);
  EXPECT_DOUBLE_EQ(learning_rate(config, 10, 31), 0.4);
  EXPECT_DOUBLE_EQ(learning_rate(config, 20, 31), 0.4 * 0.625);
  EXPECT_DOUBLE_EQ(learning_rate(config, 30, 31), 0.1);
  EXPECT_DOUBLE_EQ(learning_rate(config, 1000, 31), 0.1);
}

TEST(LearningRateTest, CosineDecayIsHalfACosine) {
  const auto config = with(LrDecay::kCosine, 0);
  EXPECT_DOUBLE_EQ(learning_rate(config, 0, 101), 0.4);
  EXPECT_DOUBLE_EQ(learning_rate(config, 25, 101), 0.2 * (1 + std::sqrt(0.5)));
  EXPECT_NEAR(learning_rate(config, 50, 101), 0.2, 1e-16);
  EXPECT_NEAR(learning_rate(config, 100, 101), 0.0, 1e-16);
}

TEST(LearningRateTest, ARunOfOneStepOrOfWarmupAloneHasARate) {
  EXPECT_DOUBLE_EQ(learning_rate(with(LrDecay::kLinear, 0), 0, 1), 0.4);
  EXPECT_DOUBLE_EQ(learning_rate(with(LrDecay::kLinear, 8), 1, 2), 0.1);
}

TEST(LearningRateTest, NegativeStepsAreRefused) {
  EXPECT_THROW(learning_rate(with(LrDecay::kConstant, 0), -1, 10), std::invalid_argument);
  EXPECT_THROW(learning_rate(with(LrDecay::kConstant, 0), 0, 0), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
