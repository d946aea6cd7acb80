#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "ddpm/kernels/relu_batch_norm.h"

namespace ddpm {
namespace {

struct BatchNormCase {
  std::vector<int64_t> shape;  ///< N, C, H, W
  at::ScalarType dtype;
  bool x_bias;
  bool time_embedding;
  bool training;
};
void PrintTo(const BatchNormCase& c, std::ostream* out) {
  *out << at::IntArrayRef(c.shape) << ' ' << c.dtype << (c.x_bias ? " with a bias" : "")
       << (c.training ? " training" : " eval");
}

class ReluBatchNormGpuTest : public ::testing::TestWithParam<BatchNormCase> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  }
};

ReluBatchNormArgs random_args(const BatchNormCase& c) {
  const auto maps = at::TensorOptions(at::kCUDA).dtype(c.dtype);
  const auto statistics = maps.dtype(at::kFloat);
  const int64_t channels = c.shape[1];
  ReluBatchNormArgs args;
  args.x = (at::randn(c.shape, maps) * 2 + 1).contiguous(at::MemoryFormat::ChannelsLast);
  if (c.x_bias) args.x_bias = at::randn({channels}, maps);
  args.weight = at::randn({channels}, maps);
  args.bias = at::randn({channels}, maps);
  args.running_mean = at::randn({channels}, statistics);
  args.running_var = at::rand({channels}, statistics) + 0.5;
  args.num_batches_tracked = at::full({}, 5, maps.dtype(at::kLong));
  // A piece of longer rows, whose gradient is a piece, too.
  if (c.time_embedding) {
    args.time_embedding = at::randn({c.shape[0], channels + 16}, maps).narrow(1, 8, channels);
  }
  args.training = c.training;
  return args;
}

/// The same on the CPU in float64.
ReluBatchNormArgs exact_args(ReluBatchNormArgs args) {
  for (Tensor* input : {&args.x, &args.x_bias, &args.weight, &args.bias, &args.running_mean,
                        &args.running_var, &args.time_embedding}) {
    if (input->defined()) *input = input->detach().to(at::kCPU, at::kDouble);
  }
  args.num_batches_tracked = args.num_batches_tracked.cpu();
  return args;
}

/// Output, gradients and running statistics, as float64 on the CPU.
std::vector<Tensor> results_of(ReluBatchNormArgs args, const Tensor& d_y) {
  std::vector<Tensor*> inputs{&args.x, &args.weight, &args.bias};
  for (Tensor* input : {&args.time_embedding, &args.x_bias}) {
    if (input->defined()) inputs.push_back(input);
  }
  if (args.training) {
    for (Tensor* input : inputs) *input = input->detach().requires_grad_(true);
  }
  const Tensor y = relu_batch_norm(args);
  std::vector<Tensor> results{y.detach(), args.running_mean, args.running_var,
                              args.num_batches_tracked};
  if (args.training) {
    y.backward(d_y);
    for (Tensor* input : inputs) results.push_back(input->grad());
  }
  for (Tensor& result : results) result = result.to(at::kCPU, at::kDouble);
  return results;
}

TEST_P(ReluBatchNormGpuTest, OutputGradientsAndStatisticsAreThoseOfFloat64) {
  const BatchNormCase& c = GetParam();
  at::manual_seed(0);
  const ReluBatchNormArgs args = random_args(c);
  const Tensor d_y =
      at::randn(c.shape, args.x.options()).contiguous(at::MemoryFormat::ChannelsLast);
  const auto expected = results_of(exact_args(args), d_y.to(at::kCPU, at::kDouble));
  // What the kernels do not write would be NaN: freed memory is used again.
  at::full({args.x.numel() * 4}, std::numeric_limits<float>::quiet_NaN(), at::kCUDA);
  const auto got = results_of(args, d_y);
  const double tolerance = c.dtype == at::kFloat ? 5e-6 : 5e-3;  // bf16 rounds what is stored
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = ((got[i] - expected[i]).norm() / expected[i].norm()).item<double>();
    EXPECT_LT(error, tolerance) << "result " << i;
  }
}

TEST_P(ReluBatchNormGpuTest, GivesTheSameBitsAgain) {
  const BatchNormCase& c = GetParam();
  at::manual_seed(1);
  const ReluBatchNormArgs args = random_args(c);
  const Tensor d_y =
      at::randn(c.shape, args.x.options()).contiguous(at::MemoryFormat::ChannelsLast);
  const auto run = [&] {
    ReluBatchNormArgs again = args;
    again.running_mean = args.running_mean.clone();
    again.running_var = args.running_var.clone();
    again.num_batches_tracked = args.num_batches_tracked.clone();
    return results_of(again, d_y);
  };
  const auto first = run();
  const auto second = run();
  for (size_t i = 0; i < first.size(); ++i) EXPECT_TRUE(at::equal(first[i], second[i]));
}

TEST_P(ReluBatchNormGpuTest, GivesTheBitsOfAMapThatHasItsBias) {
  const BatchNormCase& c = GetParam();
  if (!c.x_bias) GTEST_SKIP() << "no bias";
  at::manual_seed(2);
  const ReluBatchNormArgs args = random_args(c);
  const Tensor d_y =
      at::randn(c.shape, args.x.options()).contiguous(at::MemoryFormat::ChannelsLast);
  ReluBatchNormArgs added = args;
  added.running_mean = args.running_mean.clone();
  added.running_var = args.running_var.clone();
  added.num_batches_tracked = args.num_batches_tracked.clone();
  added.x = args.x + args.x_bias.view({1, -1, 1, 1});
  added.x_bias = Tensor();
  const auto expected = results_of(added, d_y);
  const auto got = results_of(args, d_y);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(at::equal(got[i], expected[i])) << "result " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(
    Shapes, ReluBatchNormGpuTest,
    ::testing::Values(BatchNormCase{{4, 64, 64, 64}, at::kBFloat16, true, true, true},
                      BatchNormCase{{4, 64, 32, 32}, at::kFloat, true, true, true},
                      BatchNormCase{{3, 1024, 4, 4}, at::kBFloat16, true, true, true},
                      BatchNormCase{{1100, 64, 4, 4}, at::kFloat, true, true, true},  // many rows
                      BatchNormCase{{36, 128, 32, 32}, at::kBFloat16, true, false, true},
                      BatchNormCase{{2, 40, 7, 5}, at::kFloat, false, false, true},
                      BatchNormCase{{2, 40, 7, 5}, at::kBFloat16, true, false, true},
                      BatchNormCase{{5, 264, 1, 1}, at::kFloat, false, true, true},
                      BatchNormCase{{1, 8, 1, 1031}, at::kFloat, true, true, true},
                      BatchNormCase{{2, 6, 5, 5}, at::kFloat, true, true, true},  // not fused
                      BatchNormCase{{4, 128, 16, 16}, at::kBFloat16, true, true, false},
                      BatchNormCase{{1, 64, 9, 9}, at::kFloat, false, false, false}));

}  // namespace
}  // namespace ddpm
