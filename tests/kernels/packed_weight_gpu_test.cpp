#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include "ddpm/kernels/cpu/packed_weight.h"

namespace ddpm {
namespace {

TEST(PackedWeightGpuTest, LinearLayersOfOneInputAreJoined) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(0);
  const at::NoGradGuard no_grad;
  const auto numbers = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
  Tensor first = at::randn({40, 64}, numbers);
  const Tensor second = at::randn({24, 64}, numbers);
  const Tensor bias = at::randn({64}, numbers);
  const PackedWeight packed = PackedWeight::of_linear({first, second});
  ASSERT_TRUE(packed.is_of({first, second}));
  for (const int64_t rows : {3, 2000}) {  // few, and so many that other kernels take them
    const Tensor x = at::randn({rows, 64}, numbers);
    const Tensor residual = at::randn({rows, 64}, numbers);
    const auto exact = [](const Tensor& tensor) { return tensor.to(at::kCPU, at::kDouble); };
    const Tensor expected =
        at::linear(exact(x), exact(at::cat({first, second})), exact(bias)) + exact(residual);
    const Tensor error = exact(packed_linear(x, packed, bias, residual)) - expected;
    EXPECT_LT((error.norm() / expected.norm()).item<double>(), 1e-2) << rows << " rows";
  }
  first.mul_(2);
  EXPECT_FALSE(packed.is_of({first, second}));
}

}  // namespace
}  // namespace ddpm
