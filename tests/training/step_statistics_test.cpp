#include "ddpm/training/step_statistics.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>

namespace ddpm {
namespace {

constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

Tensor whole(int64_t value) { return at::scalar_tensor(value, at::kLong); }
Tensor number(double value) { return at::scalar_tensor(value, at::kFloat); }

TEST(StepStatisticsTest, LossesAreSortedByQuarterOfT) {
  StepLosses step = make_step_losses(at::kCPU);
  // T = 10: quarters are t in 0..2, 3..4, 5..7, 8..9.
  add_losses(step, at::tensor({1.0f, 2.0f, 4.0f, 8.0f, 16.0f}), at::tensor({0l, 2l, 3l, 8l, 9l}),
             10);
  add_losses(step, at::tensor({32.0f}), at::tensor({4l}), 10);
  EXPECT_TRUE(at::equal(step.quarter_loss_sum, at::tensor({3.0, 36.0, 0.0, 24.0})));
  EXPECT_TRUE(at::equal(step.quarter_images, at::tensor({2.0, 2.0, 0.0, 2.0})));
}

TEST(StepStatisticsTest, MeansLeaveSkippedStepsOut) {
  StepStatistics statistics = make_step_statistics(at::kCPU);
  const auto take = [&](float loss, float norm, int64_t step, int64_t nonfinite_row) {
    StepLosses losses = make_step_losses(at::kCPU);
    losses.loss.fill_(loss);
    add_losses(losses, at::full({2}, loss), at::tensor({0l, 9l}), 10);
    add_step(statistics, losses, whole(step), number(norm), whole(nonfinite_row));
  };
  take(1, 10, 0, 0);
  take(kNan, kNan, 1, 1);
  take(kNan, 5, 2, 2);
  take(3, 20, 3, 0);
  const StepMeans means = read_means(statistics);
  EXPECT_DOUBLE_EQ(means.loss, 2);
  EXPECT_DOUBLE_EQ(means.grad_norm, 15);
  EXPECT_DOUBLE_EQ(means.quarter_loss[0], 2);
  EXPECT_TRUE(std::isnan(means.quarter_loss[1]));
  EXPECT_DOUBLE_EQ(means.quarter_loss[3], 2);
  EXPECT_EQ(statistics.longest_nonfinite_row.item<int64_t>(), 2);
  EXPECT_EQ(statistics.last_nonfinite[0].item<double>(), 2);
  EXPECT_EQ(statistics.last_nonfinite[2].item<double>(), 5);

  EXPECT_FALSE(means.accuracy.has_value()) << "no classifier";
  clear_sums(statistics);
  EXPECT_TRUE(std::isnan(read_means(statistics).loss));
  EXPECT_EQ(statistics.longest_nonfinite_row.item<int64_t>(), 2);
}

TEST(StepStatisticsTest, AccuracyCountsTheImagesOfTheStepsThatCount) {
  StepStatistics statistics = make_step_statistics(at::kCPU, /*classifies=*/true);
  StepLosses losses = make_step_losses(at::kCPU, /*classifies=*/true);
  const auto take = [&](const Tensor& correct, int64_t nonfinite_row) {
    clear_losses(losses);
    add_losses(losses, at::ones(correct.sizes()), at::zeros(correct.sizes(), at::kLong), 10);
    add_correct(losses, correct);
    add_step(statistics, losses, whole(0), number(1), whole(nonfinite_row));
  };
  take(at::tensor({1, 0, 1, 1}) == 1, 0);
  take(at::zeros({4}, at::kBool), 1);  // was skipped
  take(at::tensor({0, 1, 1, 1}) == 1, 0);
  EXPECT_DOUBLE_EQ(read_means(statistics).accuracy.value(), 0.75);
  clear_sums(statistics);
  EXPECT_TRUE(std::isnan(read_means(statistics).accuracy.value()));
}

}  // namespace
}  // namespace ddpm
