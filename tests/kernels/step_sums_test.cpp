#include "ddpm/kernels/step_sums.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

namespace ddpm {
namespace {

constexpr float kNotANumber = std::numeric_limits<float>::quiet_NaN();

TEST(StepSumsTest, LossesAreSortedByQuarterOfT) {
  StepLosses step = make_step_losses(at::kCPU);
  // T = 10: quarters are t in 0..2, 3..4, 5..7, 8..9.
  const Tensor plain = at::tensor({1.0f, 2.0f, 4.0f, 8.0f, 16.0f});
  add_losses(step, {.objective = 2 * plain, .plain = plain, .t = at::tensor({0l, 2l, 3l, 8l, 9l})},
             {.size = 6, .num_timesteps = 10}, /*is_first=*/true);
  const Tensor last = at::tensor({32.0f});
  add_losses(step, {.objective = 4 * last, .plain = last, .t = at::tensor({4l})},
             {.size = 6, .num_timesteps = 10}, /*is_first=*/false);
  EXPECT_TRUE(at::equal(step.quarter_loss_sum, at::tensor({3.0, 36.0, 0.0, 24.0})));
  EXPECT_TRUE(at::equal(step.quarter_images, at::tensor({2.0, 2.0, 0.0, 2.0})));
  EXPECT_FLOAT_EQ(step.loss.item<float>(), (2 * 31 + 4 * 32) / 6.0f);
}

TEST(StepSumsTest, AStepsFirstMicroBatchReplacesWhatTheLastStepLeft) {
  StepLosses step = make_step_losses(at::kCPU, /*classifies=*/true);
  const auto take = [&](float loss, bool is_right) {
    const Tensor losses = at::full({1}, loss);
    add_losses(step,
               {.objective = losses,
                .plain = losses,
                .t = at::zeros({1}, at::kLong),
                .correct = at::full({1}, is_right, at::kBool)},
               {.size = 1, .num_timesteps = 10}, /*is_first=*/true);
  };
  take(kNotANumber, true);
  take(3, false);
  EXPECT_EQ(step.loss.item<float>(), 3);
  EXPECT_EQ(step.quarter_loss_sum[0].item<double>(), 3);
  EXPECT_EQ(step.quarter_images[0].item<double>(), 1);
  EXPECT_EQ(step.correct.item<double>(), 0);
}

TEST(StepSumsTest, ASkippedStepIsNotedAndLeftOut) {
  StepStatistics statistics = make_step_statistics(at::kCPU);
  const auto take = [&](float loss, int64_t step, int64_t nonfinite_row) {
    StepLosses losses = make_step_losses(at::kCPU);
    losses.loss.fill_(loss);
    losses.quarter_loss_sum.fill_(loss);
    add_step(statistics, losses, at::scalar_tensor(step, at::kLong), at::scalar_tensor(2 * loss),
             at::scalar_tensor(nonfinite_row, at::kLong));
  };
  take(1, 0, 0);
  take(kNotANumber, 1, 1);
  take(kNotANumber, 2, 2);
  take(2, 3, 0);
  EXPECT_EQ(statistics.loss_sum.item<double>(), 3);
  EXPECT_EQ(statistics.grad_norm_sum.item<double>(), 6);
  EXPECT_EQ(statistics.steps.item<double>(), 2);
  EXPECT_TRUE(at::equal(statistics.quarter_loss_sum, at::full({4}, 3.0, at::kDouble)));
  EXPECT_EQ(statistics.longest_nonfinite_row.item<int64_t>(), 2);
  EXPECT_EQ(statistics.last_nonfinite[0].item<double>(), 2);
}

TEST(StepSumsTest, OtherShapesAreRefused) {
  StepLosses step = make_step_losses(at::kCPU);
  const WholeBatch batch{.size = 3, .num_timesteps = 10};
  const Tensor three = at::zeros({3});
  const Tensor t = at::zeros({3}, at::kLong);
  EXPECT_THROW(add_losses(step, {three, at::zeros({2}), t}, batch, true), std::invalid_argument);
  EXPECT_THROW(add_losses(step, {three, three, t.narrow(0, 0, 2)}, batch, true),
               std::invalid_argument);
  EXPECT_THROW(add_losses(step, {three, three, t, t == 0}, batch, true), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
