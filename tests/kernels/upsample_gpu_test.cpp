#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "ddpm/kernels/upsample.h"

namespace ddpm {
namespace {

TEST(UpsampleGpuTest, OutputAndGradientAreThoseOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(0);
  const std::vector<std::vector<int64_t>> shapes{
      {3, 256, 8, 8}, {2, 24, 5, 3}, {1, 8, 1, 1}, {2, 6, 4, 4}};
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const auto& shape : shapes) {
      const Tensor x = at::randn(shape, at::TensorOptions(at::kCUDA).dtype(dtype))
                           .contiguous(at::MemoryFormat::ChannelsLast)
                           .requires_grad_(true);
      const Tensor exact = x.detach().to(at::kCPU, at::kDouble).requires_grad_(true);
      const Tensor y = upsample_nearest_2x(x);
      const Tensor expected = upsample_nearest_2x(exact);
      EXPECT_TRUE(at::equal(y.to(at::kCPU, at::kDouble), expected));
      const Tensor d_y = at::randn_like(y);
      y.backward(d_y);
      expected.backward(d_y.to(at::kCPU, at::kDouble));
      const Tensor error = x.grad().to(at::kCPU, at::kDouble) - exact.grad();
      EXPECT_LT((error.norm() / exact.grad().norm()).item<double>(),
                dtype == at::kFloat ? 1e-6 : 1e-2);
    }
  }
}

}  // namespace
}  // namespace ddpm
