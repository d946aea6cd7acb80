#include "ddpm/kernels/relu_batch_norm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <utility>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

ReluBatchNormArgs batch_norm_args(int64_t channels) {
  ReluBatchNormArgs args;
  args.x = at::randn({3, channels, 4, 5}, at::kDouble);
  args.weight = at::randn({channels}, at::kDouble);
  args.bias = at::randn({channels}, at::kDouble);
  args.running_mean = at::randn({channels}, at::kDouble);
  args.running_var = at::rand({channels}, at::kDouble) + 0.5;
  return args;
}

Tensor per_channel(const Tensor& values) { return values.view({1, -1, 1, 1}); }

TEST(ReluBatchNormTest, TrainingTakesTheBatchsStatistics) {
  at::manual_seed(0);
  ReluBatchNormArgs args = batch_norm_args(6);
  args.time_embedding = at::randn({3, 6}, at::kDouble);
  args.num_batches_tracked = at::full({}, 5, at::kLong);
  args.training = true;
  const Tensor mean_before = args.running_mean.clone();
  const Tensor var_before = args.running_var.clone();
  const Tensor y = relu_batch_norm(args);

  const Tensor positive = args.x.clamp_min(0);
  const Tensor mean = positive.mean({0, 2, 3});
  const Tensor var = positive.var({0, 2, 3}, /*unbiased=*/false);
  const Tensor normed = (positive - per_channel(mean)) / (per_channel(var) + args.eps).sqrt();
  const Tensor expected = normed * per_channel(args.weight) + per_channel(args.bias) +
                          args.time_embedding.view({3, 6, 1, 1});
  EXPECT_TRUE(tensors_near(y, expected, 1e-12));
  EXPECT_TRUE(tensors_near(args.running_mean, 0.9 * mean_before + 0.1 * mean, 1e-12));
  EXPECT_TRUE(tensors_near(args.running_var, 0.9 * var_before + 0.1 * var * 60 / 59, 1e-12));
  EXPECT_EQ(args.num_batches_tracked.item<int64_t>(), 6);
}

TEST(ReluBatchNormTest, OtherwiseTheRunningOnesWhichStay) {
  at::manual_seed(1);
  ReluBatchNormArgs args = batch_norm_args(5);
  args.num_batches_tracked = at::full({}, 5, at::kLong);
  const Tensor mean = args.running_mean.clone();
  const Tensor y = relu_batch_norm(args);
  const Tensor normed =
      (args.x.clamp_min(0) - per_channel(mean)) / (per_channel(args.running_var) + args.eps).sqrt();
  EXPECT_TRUE(tensors_near(y, normed * per_channel(args.weight) + per_channel(args.bias), 1e-12));
  EXPECT_TRUE(at::equal(args.running_mean, mean));
  EXPECT_EQ(args.num_batches_tracked.item<int64_t>(), 5);
}

TEST(ReluBatchNormTest, TakesABiasThatTheMapLacks) {
  at::manual_seed(2);
  const auto gradients = [](ReluBatchNormArgs args, bool added) {
    args.x.requires_grad_(true);
    const Tensor x_bias = at::linspace(-1, 1, 6, at::kDouble).requires_grad_(true);
    if (added) args.x = args.x + per_channel(x_bias);
    if (!added) args.x_bias = x_bias;
    const Tensor y = relu_batch_norm(args);
    y.backward(at::linspace(0, 3, y.numel(), at::kDouble).view(y.sizes()).cos());
    return std::pair{y.detach(), x_bias.grad()};
  };
  for (const bool training : {true, false}) {
    ReluBatchNormArgs args = batch_norm_args(6);
    args.training = training;
    ReluBatchNormArgs same = args;
    same.running_mean = args.running_mean.clone();
    same.running_var = args.running_var.clone();
    const auto [y, d_x_bias] = gradients(args, /*added=*/false);
    const auto [expected, d_expected] = gradients(same, /*added=*/true);
    EXPECT_TRUE(tensors_near(y, expected, 1e-12));
    EXPECT_TRUE(tensors_near(d_x_bias, d_expected, 1e-12));
    EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
  }
}

TEST(ReluBatchNormTest, AnswersInChannelsLast) {
  ReluBatchNormArgs args = batch_norm_args(4);
  EXPECT_TRUE(relu_batch_norm(args).is_contiguous(at::MemoryFormat::ChannelsLast));
}

TEST(ReluBatchNormTest, RefusesOtherShapes) {
  ReluBatchNormArgs args = batch_norm_args(4);
  args.time_embedding = at::zeros({2, 4}, at::kDouble);
  EXPECT_THROW(relu_batch_norm(args), std::invalid_argument);
  args = batch_norm_args(4);
  args.running_var = at::ones({3}, at::kDouble);
  EXPECT_THROW(relu_batch_norm(args), std::invalid_argument);
  args = batch_norm_args(4);
  args.x_bias = at::ones({5}, at::kDouble);
  EXPECT_THROW(relu_batch_norm(args), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
