#include "ddpm/kernels/squared_error.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

TEST(SquaredErrorTest, IsTheMeanOfEachImagesSquares) {
  const Tensor prediction = at::tensor({1.0f, 2.0f, 0.0f, -4.0f}).view({2, 1, 1, 2});
  const Tensor target = at::tensor({0.0f, 4.0f, 0.5f, -4.0f}).view({2, 1, 1, 2});
  EXPECT_TRUE(at::equal(squared_error_per_image(prediction, target), at::tensor({2.5f, 0.125f})));
}

TEST(SquaredErrorTest, BothMayHaveGradientsAndAnyDtype) {
  const Tensor prediction = at::randn({3, 2, 4}).to(at::kBFloat16).set_requires_grad(true);
  const Tensor target = at::randn({3, 2, 4}, at::kDouble).set_requires_grad(true);
  const Tensor loss = squared_error_per_image(prediction, target);
  EXPECT_EQ(loss.scalar_type(), at::kFloat);
  loss.sum().backward();
  const Tensor expected = (prediction.detach().to(at::kDouble) - target.detach()) / 4;
  EXPECT_TRUE(tensors_near(target.grad(), -expected, 1e-6));
  EXPECT_EQ(prediction.grad().scalar_type(), at::kBFloat16);
  EXPECT_TRUE(tensors_near(prediction.grad().to(at::kDouble), expected, 1e-2));
}

TEST(SquaredErrorTest, ABatchOfNoImagesHasNoLosses) {
  EXPECT_EQ(squared_error_per_image(at::zeros({0, 3, 2, 2}), at::zeros({0, 3, 2, 2})).size(0), 0);
}

}  // namespace
}  // namespace ddpm
