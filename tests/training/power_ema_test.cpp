#include "ddpm/training/power_ema.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>
#include <vector>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

/// The average of path[0 .. step - 1] as training keeps it, step by step.
Tensor tracked_average(const Tensor& path, double gamma, int64_t step) {
  Tensor average = at::zeros_like(path[0]);
  for (int64_t s = 1; s <= step; ++s) {
    average.lerp_(path[s - 1], 1 - power_ema_decay(gamma, at::full({}, s, at::kLong)));
  }
  return average;
}

TEST(PowerEmaTest, ExponentsOfThePaper) {
  EXPECT_NEAR(power_ema_gamma(0.05), 16.9722, 5e-5);
  EXPECT_NEAR(power_ema_gamma(0.10), 6.9372, 5e-5);
  EXPECT_NEAR(power_ema_gamma(std::sqrt(1.0 / 12)), 0, 1e-9);
  for (const double std : {0.001, 0.02, 0.25}) {
    const double g = power_ema_gamma(std);
    const double cubic = g * g * g + 7 * g * g + (16 - 1 / (std * std)) * g + 12 - 1 / (std * std);
    EXPECT_NEAR(cubic / (g * g * g), 0, 1e-9) << std;
  }
  EXPECT_THROW(power_ema_gamma(0.29), std::invalid_argument);
  EXPECT_THROW(power_ema_gamma(0), std::invalid_argument);
}

TEST(PowerEmaTest, GammaZeroIsThePlainMean) {
  const Tensor path = at::arange(1, 101, at::kDouble).unsqueeze(1);
  EXPECT_NEAR(tracked_average(path, 0, 100).item<double>(), 50.5, 1e-9);
}

// In the limit of many steps the average of s / step is (gamma + 1) / (gamma + 2), with the
// relative width that gave gamma.
TEST(PowerEmaTest, WidthIsTheStandardDeviationOfTheWeightsOverTime) {
  const int64_t steps = 20'000;
  const Tensor time = at::arange(1, steps + 1, at::kDouble) / steps;
  const Tensor path = at::stack({time, time.square()}, /*dim=*/1);
  const double gamma = power_ema_gamma(0.1);
  const Tensor moments = tracked_average(path, gamma, steps);
  const double mean = moments[0].item<double>();
  EXPECT_NEAR(mean, (gamma + 1) / (gamma + 2), 1e-4);
  EXPECT_NEAR(std::sqrt(moments[1].item<double>() - mean * mean), 0.1, 1e-4);
}

TEST(PowerEmaTest, FirstStepTakesTheWeightsWhole) {
  EXPECT_EQ(power_ema_decay(7, at::ones({}, at::kLong)).item<double>(), 0);
  EXPECT_NEAR(power_ema_decay(1, at::full({}, 4, at::kLong)).item<double>(), 9.0 / 16, 1e-15);
}

TEST(PowerEmaTest, ASavedAverageIsItself) {
  const std::vector<PowerEma> saved{{7, 100}, {17, 100}, {7, 200}, {17, 200}};
  const std::vector<double> factors = posthoc_weights(saved, {17, 100});
  for (size_t i = 0; i < 4; ++i) EXPECT_NEAR(factors[i], i == 1, 1e-9) << i;
  EXPECT_THROW(posthoc_weights({}, {1, 1}), std::invalid_argument);
  EXPECT_THROW(posthoc_weights(std::vector<PowerEma>{{7, 9}, {7, 9}}, {1, 1}),
               std::invalid_argument);
}

// Weights that drift and shake, averaged exactly with a width that was not saved.
TEST(PowerEmaTest, OtherWidthsComeFromSavedOnesNearlyExactly) {
  at::manual_seed(4);
  const int64_t steps = 2000;
  const Tensor time = at::arange(steps, at::kDouble).unsqueeze(1) / steps;
  const Tensor path =
      (at::randn({1, 50}, at::kDouble) * time).sin() + 0.3 * at::randn({steps, 50}, at::kDouble);
  std::vector<PowerEma> saved;
  std::vector<Tensor> averages;
  for (int64_t step = 200; step <= steps; step += 200) {
    for (const double std : {0.05, 0.1}) {
      saved.push_back({power_ema_gamma(std), static_cast<double>(step)});
      averages.push_back(tracked_average(path, saved.back().gamma, step));
    }
  }
  for (const double std : {0.06, 0.08, 0.12}) {
    const double gamma = power_ema_gamma(std);
    const std::vector<double> factors = posthoc_weights(saved, {gamma, static_cast<double>(steps)});
    Tensor sum = at::zeros({50}, at::kDouble);
    for (size_t i = 0; i < saved.size(); ++i) sum += factors[i] * averages[i];
    const Tensor exact = tracked_average(path, gamma, steps);
    const Tensor nearest_saved = averages[averages.size() - (std < 0.07 ? 2 : 1)];
    const double error = (sum - exact).norm().item<double>();
    EXPECT_LT(error, 0.003 * exact.norm().item<double>()) << std;
    EXPECT_LT(error, 0.1 * (nearest_saved - exact).norm().item<double>()) << std;
  }
}

}  // namespace
}  // namespace ddpm
