#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "ddpm/kernels/sampler_update.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

// Whole accesses of 16 bytes and odd sizes; more coefficients than one launch takes.
TEST(SamplerUpdateGpuTest, IsThatOfTheCpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(0);
  const std::vector<std::vector<int64_t>> shapes{
      {1, 3, 32, 32}, {5, 3, 33, 31}, {700, 1, 4, 4}, {2, 1, 1, 1}};
  for (const auto dtype : {at::kFloat, at::kDouble}) {
    for (const auto& shape : shapes) {
      std::vector<Tensor> on_cpu, on_gpu;
      for (int k = 0; k < 3; ++k) {
        on_cpu.push_back(at::randn(shape, dtype));
        on_gpu.push_back(on_cpu.back().to(at::kCUDA));
      }
      std::vector<double> coefficients;
      for (int64_t i = 0; i < 3 * shape[0]; ++i) {
        coefficients.push_back(i % 4 == 1 ? 0 : 0.01 * static_cast<double>(i) - 2);
      }
      const double tolerance = dtype == at::kFloat ? 1e-4 : 1e-12;
      EXPECT_TRUE(tensors_near(sampler_update(on_gpu, coefficients).to(at::kCPU),
                               sampler_update(on_cpu, coefficients), tolerance))
          << at::IntArrayRef(shape);
      EXPECT_TRUE(tensors_near(sampler_update({{on_gpu[0], 0.3}, {on_gpu[1], -2.0}}).to(at::kCPU),
                               sampler_update({{on_cpu[0], 0.3}, {on_cpu[1], -2.0}}), tolerance));
    }
  }
}

TEST(SamplerUpdateGpuTest, SumsAreClippedAndKeepNaN) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  for (const int64_t elements : {5, 8}) {  // with single values, and in whole accesses
    Tensor x = at::linspace(-3, 3, 2 * elements).view({2, elements});
    x[1][2] = std::numeric_limits<float>::quiet_NaN();
    const Tensor on_gpu = x.to(at::kCUDA), expected = (x * 2).clamp(-1.5, 1.5);
    const std::vector<double> coefficients{1.5, 0.5, 1.5, 0.5};
    for (const Tensor& sum :
         {sampler_update(std::vector<UpdateTerm>{{on_gpu, 1.5}, {on_gpu, 0.5}}, 1.5),
          sampler_update({on_gpu, on_gpu}, coefficients, 1.5)}) {
      EXPECT_TRUE(at::allclose(sum.to(at::kCPU), expected, /*rtol=*/1e-6, /*atol=*/1e-6,
                               /*equal_nan=*/true));
    }
  }
}

TEST(SamplerUpdateGpuTest, AValueWithoutCoefficientDoesNotCount) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const Tensor x = at::ones({2, 1, 4, 4}, at::kCUDA);
  Tensor values = at::ones({2, 1, 4, 4}, at::kCUDA);
  values[0].fill_(std::numeric_limits<double>::quiet_NaN());
  const Tensor y = sampler_update({x, values, Tensor()}, std::vector{1.0, 0.0, 0.0, 2.0, 3.0, 0.0});
  EXPECT_TRUE(at::equal(y[0].to(at::kCPU), at::full({1, 4, 4}, 1.0F)));
  EXPECT_TRUE(at::equal(y[1].to(at::kCPU), at::full({1, 4, 4}, 5.0F)));
}

}  // namespace
}  // namespace ddpm
