#include "ddpm/kernels/linear.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

TEST(LinearTest, AddsBiasAndResidual) {
  at::manual_seed(0);
  const Tensor x = at::randn({2, 5, 3}, at::kDouble);
  const Tensor weight = at::randn({4, 3}, at::kDouble);
  const Tensor bias = at::randn({4}, at::kDouble);
  const Tensor residual = at::randn({2, 5, 4}, at::kDouble);
  const Tensor product = at::matmul(x, weight.t());
  EXPECT_TRUE(tensors_near(linear({.x = x, .weight = weight}), product, 1e-12));
  EXPECT_TRUE(tensors_near(linear({.x = x, .weight = weight, .bias = bias, .residual = residual}),
                           product + bias + residual, 1e-12));
}

}  // namespace
}  // namespace ddpm
