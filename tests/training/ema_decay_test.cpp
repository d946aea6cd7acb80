#include "ddpm/training/ema_decay.h"

#include <gtest/gtest.h>

namespace ddpm {
namespace {

TEST(EmaDecayTest, FixedIsTheDecayFromTheFirstStep) {
  const EmaConfig config{.kind = EmaKind::kFixed, .decay = 0.9999};
  EXPECT_EQ(ema_decay(config, 0), 0.9999);
  EXPECT_EQ(ema_decay(config, 1'000'000), 0.9999);
}

// Power 3/4: 1 - 16^-0.75 = 1 - 1/8, 1 - 10000^-0.75 = 0.999; 0.9999 is reached at 215,443 steps.
TEST(EmaDecayTest, WarmupRisesByItsPowerUntilTheDecay) {
  const EmaConfig config{.kind = EmaKind::kWarmup, .decay = 0.9999, .warmup_power = 0.75};
  EXPECT_DOUBLE_EQ(ema_decay(config, 0), 0.0);
  EXPECT_DOUBLE_EQ(ema_decay(config, 15), 0.875);
  EXPECT_DOUBLE_EQ(ema_decay(config, 9999), 0.999);
  EXPECT_LT(ema_decay(config, 215'000), 0.9999);
  EXPECT_EQ(ema_decay(config, 216'000), 0.9999);
}

TEST(EmaDecayTest, NegativeStepsAreRefused) {
  EXPECT_THROW(ema_decay(EmaConfig(), -1), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
