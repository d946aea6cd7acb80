#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "ddpm/kernels/attention.h"
#include "ddpm/kernels/linear.h"

namespace ddpm {
namespace {

/// The relative error of each, as float64 on the CPU.
void expect_near(const std::vector<Tensor>& got, const std::vector<Tensor>& expected,
                 double tolerance) {
  for (size_t i = 0; i < expected.size(); ++i) {
    const Tensor exact = expected[i].detach();
    const Tensor error = got[i].detach().to(at::kCPU, at::kDouble) - exact;
    EXPECT_LT((error.norm() / exact.norm()).item<double>(), tolerance) << "result " << i;
  }
}

TEST(AttentionGpuTest, OutputAndGradientsAreThoseOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(0);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const auto& [length, channels] : {std::pair{256, 256}, {16, 64}, {64, 24}, {1000, 32}}) {
      const auto maps = at::TensorOptions(at::kCUDA).dtype(dtype);
      const Tensor qkv = at::randn({3, length, 3 * channels}, maps).requires_grad_(true);
      const Tensor d_y = at::randn({3, length, channels}, maps);
      const Tensor exact = qkv.detach().to(at::kCPU, at::kDouble).requires_grad_(true);
      const Tensor expected = attention(exact, 1);
      expected.backward(d_y.to(at::kCPU, at::kDouble));
      const Tensor y = attention(qkv, 1);
      y.backward(d_y);
      expect_near({y, qkv.grad()}, {expected, exact.grad()}, dtype == at::kFloat ? 1e-5 : 1e-2);
      const Tensor first = qkv.grad().clone();
      qkv.mutable_grad() = Tensor();
      attention(qkv, 1).backward(d_y);
      EXPECT_TRUE(at::equal(qkv.grad(), first));
    }
  }
}

/// Queries so few that clusters share the keys.
struct FewQueriesCase {
  int64_t images, length, heads, channels;
};

TEST(AttentionGpuTest, FewQueriesGetWhatFloat64Gives) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const at::NoGradGuard no_grad;
  at::manual_seed(2);
  const auto maps = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
  const FewQueriesCase cases[] = {{1, 256, 1, 256}, {1, 16, 1, 256},  {2, 64, 4, 64},
                                  {3, 80, 2, 128},  {1, 192, 1, 192}, {1, 512, 1, 64},
                                  {2, 256, 1, 256}, {1, 272, 1, 64}};
  for (const FewQueriesCase& c : cases) {
    const int64_t channels = c.heads * c.channels;
    const Tensor qkv = 2 * at::randn({c.images, c.length, 3 * channels}, maps);
    const Tensor expected = attention(qkv.to(at::kCPU, at::kDouble), c.heads);
    static_cast<void>(
        at::full({c.images, c.length, channels}, std::numeric_limits<double>::quiet_NaN(), maps));
    const Tensor y = attention(qkv, c.heads);
    EXPECT_EQ(y.sizes(), expected.sizes());
    expect_near({y}, {expected}, 1e-2);
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(at::equal(y, attention(qkv, c.heads)));
  }
}

TEST(LinearGpuTest, OutputAndGradientsAreThoseOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(1);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const int64_t length : {4, 700}) {
      const auto maps = at::TensorOptions(at::kCUDA).dtype(dtype);
      std::vector<Tensor> inputs{at::randn({3, length, 40}, maps), at::randn({24, 40}, maps),
                                 at::randn({24}, maps), at::randn({3, length, 24}, maps)};
      const Tensor d_y = at::randn({3, length, 24}, maps);
      std::vector<Tensor> exact;
      for (Tensor& input : inputs) {
        exact.push_back(input.to(at::kCPU, at::kDouble).requires_grad_(true));
        input.requires_grad_(true);
      }
      const auto run = [](const std::vector<Tensor>& of) {
        return linear({.x = of[0], .weight = of[1], .bias = of[2], .residual = of[3]});
      };
      const Tensor expected = run(exact);
      expected.backward(d_y.to(at::kCPU, at::kDouble));
      const Tensor y = run(inputs);
      y.backward(d_y);
      std::vector<Tensor> got{y}, wanted{expected};
      for (size_t i = 0; i < inputs.size(); ++i) {
        got.push_back(inputs[i].grad());
        wanted.push_back(exact[i].grad());
      }
      expect_near(got, wanted, dtype == at::kFloat ? 1e-5 : 1e-2);
    }
  }
}

}  // namespace
}  // namespace ddpm
