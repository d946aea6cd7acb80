#include "ddpm/model/layers.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "ddpm/model/resample.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

TEST(LayersTest, ConvolutionsAnswerInChannelsLastEvenForOneChannel) {
  for (const int64_t channels : {1, 3}) {
    Conv2d conv(channels, 8);
    const Tensor y = conv->forward(at::ones({2, channels, 6, 6}));
    EXPECT_EQ(y.suggest_memory_format(), at::MemoryFormat::ChannelsLast);
  }
}

TEST(LayersTest, BatchNormKeepsExponentialAveragesOfTheBatchStatistics) {
  at::manual_seed(0);
  BatchNorm2d norm(2);
  norm->initialize(/*seed=*/0, /*first_tensor=*/0);
  const Tensor x = (at::randn({8, 2, 4, 4}) * 3 + 5).abs();
  const Tensor y = norm->forward_after_relu(x);
  EXPECT_TRUE(tensors_near(y.mean({0, 2, 3}), at::zeros({2}), 1e-5));
  const auto buffers = norm->named_buffers();
  EXPECT_TRUE(tensors_near(buffers["running_mean"], 0.1 * x.mean({0, 2, 3}), 1e-5));
  const Tensor variance = x.transpose(0, 1).flatten(1).var(/*dim=*/1, /*unbiased=*/true);
  EXPECT_TRUE(tensors_near(buffers["running_var"], 0.9 + 0.1 * variance, 1e-4));
  EXPECT_EQ(buffers["num_batches_tracked"].item<int64_t>(), 1);
}

TEST(LayersTest, BatchNormUsesRunningStatisticsInEvaluation) {
  BatchNorm2d norm(1);
  norm->initialize(/*seed=*/0, /*first_tensor=*/0);
  norm->eval();
  const at::NoGradGuard no_grad;
  norm->named_buffers()["running_mean"].fill_(2.0);
  norm->named_buffers()["running_var"].fill_(4.0);
  const Tensor y = norm->forward_after_relu(at::full({1, 1, 1, 1}, 6.0));
  EXPECT_NEAR(y.item<double>(), 2.0, 1e-5);
  EXPECT_EQ(norm->named_buffers()["num_batches_tracked"].item<int64_t>(), 0);
}

TEST(LayersTest, RunningStatisticsStayFloat32InBf16) {
  BatchNorm2d norm(2);
  norm->initialize(/*seed=*/0, /*first_tensor=*/0);
  const double awkward = 1.0 + 1.0 / 4096;  // bf16 would round it to 1
  norm->named_buffers()["running_var"].fill_(awkward);
  norm->to(at::kBFloat16);
  EXPECT_EQ(norm->named_parameters()["weight"].scalar_type(), at::kBFloat16);
  EXPECT_EQ(norm->named_buffers()["running_var"].scalar_type(), at::kFloat);
  EXPECT_EQ(norm->named_buffers()["running_var"][0].item<double>(), awkward);
  EXPECT_EQ(norm->named_buffers()["num_batches_tracked"].scalar_type(), at::kLong);
  EXPECT_EQ(norm->forward_after_relu(at::ones({2, 2, 4, 4}, at::kBFloat16)).scalar_type(),
            at::kBFloat16);
}

TEST(LayersTest, ResamplingRepeatsAndAveragesPixels) {
  const Tensor x = at::arange(4, at::kFloat).view({1, 1, 2, 2});
  const Tensor large = upsample_nearest(x);
  EXPECT_TRUE(at::equal(large[0][0][0], at::tensor({0, 0, 1, 1}, at::kFloat)));
  EXPECT_TRUE(at::equal(large[0][0][3], at::tensor({2, 2, 3, 3}, at::kFloat)));
  EXPECT_TRUE(at::equal(downsample_mean(large), x));
  EXPECT_EQ(downsample_mean(x).item<double>(), 1.5);
}

}  // namespace
}  // namespace ddpm
