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

TEST(StepStatisticsTest, MeansLeaveSkippedStepsOut) {
  StepStatistics statistics = make_step_statistics(at::kCPU);
  const auto take = [&](float loss, float norm, int64_t step, int64_t nonfinite_row) {
    StepLosses losses = make_step_losses(at::kCPU);
    const Tensor both = at::full({2}, loss);
    add_losses(losses, {.objective = both, .plain = both, .t = at::tensor({0l, 9l})},
               {.size = 2, .num_timesteps = 10}, /*is_first=*/true);
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
    const Tensor ones = at::ones(correct.sizes());
    add_losses(losses,
               {.objective = ones,
                .plain = ones,
                .t = at::zeros(correct.sizes(), at::kLong),
                .correct = correct},
               {.size = 4, .num_timesteps = 10}, /*is_first=*/true);
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
