#include "ddpm/kernels/conv2d.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

Tensor map(at::IntArrayRef sizes) {
  return at::randn(sizes, at::kDouble).contiguous(at::MemoryFormat::ChannelsLast);
}

TEST(Conv2dTest, AddsBiasAndResidual) {
  at::manual_seed(0);
  const Tensor x = map({2, 3, 5, 4});
  const Tensor weight = map({6, 3, 3, 3});
  const Tensor bias = at::randn({6}, at::kDouble);
  const Tensor residual = map({2, 6, 3, 2});
  const Tensor expected = at::conv2d(x, weight, bias, /*stride=*/2, /*padding=*/1) + residual;
  EXPECT_TRUE(tensors_near(conv2d({.x = x,
                                   .weight = weight,
                                   .bias = bias,
                                   .residual = residual,
                                   .stride = 2,
                                   .padding = 1}),
                           expected, 1e-12));
}

TEST(Conv2dTest, AddsTheResidualsBiasToo) {
  at::manual_seed(2);
  const Tensor x = map({2, 3, 4, 4});
  const Tensor weight = map({6, 3, 1, 1});
  const Tensor bias = at::randn({6}, at::kDouble);
  const Tensor more = at::randn({6}, at::kDouble);
  const Tensor expected = at::conv2d(x, weight, bias + more);
  EXPECT_TRUE(tensors_near(conv2d({.x = x, .weight = weight, .bias = bias, .residual_bias = more}),
                           expected, 1e-12));
  EXPECT_TRUE(tensors_near(conv2d({.x = x, .weight = weight, .residual_bias = more}),
                           at::conv2d(x, weight, more), 1e-12));
}

TEST(Conv2dTest, AnswersInChannelsLast) {
  const Tensor y = conv2d({.x = at::ones({2, 3, 4, 4}), .weight = at::ones({5, 3, 1, 1})});
  EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(tensors_near(y, at::full({2, 5, 4, 4}, 3.0), 0.0));
}

TEST(Conv2dTest, TransposedEnlarges) {
  at::manual_seed(1);
  const Tensor x = map({1, 4, 3, 3});
  const Tensor weight = map({4, 2, 4, 4});
  const Tensor y =
      conv2d({.x = x, .weight = weight, .stride = 2, .padding = 1, .transposed = true});
  EXPECT_TRUE(
      tensors_near(y, at::conv_transpose2d(x, weight, {}, /*stride=*/2, /*padding=*/1), 1e-12));
}

TEST(Conv2dTest, UpsampledSeesEveryPixelFourTimes) {
  at::manual_seed(4);
  const Tensor x = map({2, 3, 5, 4}).requires_grad_(true);
  const Tensor weight = map({6, 3, 3, 3}).requires_grad_(true);
  const Tensor bias = at::randn({6}, at::kDouble).requires_grad_(true);
  const Tensor y =
      conv2d({.x = x, .weight = weight, .bias = bias, .padding = 1, .upsampled = true});
  const Tensor large = x.repeat_interleave(2, 2).repeat_interleave(2, 3);
  const Tensor expected = at::conv2d(large, weight, bias, /*stride=*/1, /*padding=*/1);
  EXPECT_TRUE(at::allclose(y, expected));
  const Tensor d_y = at::randn_like(y);
  std::vector<Tensor> gradients;
  for (const Tensor& result : {y, expected}) {
    result.backward(d_y);
    for (const Tensor& input : {x, weight, bias}) {
      gradients.push_back(input.grad().clone());
      input.mutable_grad() = Tensor();
    }
  }
  for (size_t i = 0; i < 3; ++i) EXPECT_TRUE(at::allclose(gradients[i], gradients[i + 3]));
  EXPECT_THROW(conv2d({.x = x, .weight = weight, .stride = 2, .padding = 1, .upsampled = true}),
               std::invalid_argument);
}

TEST(Conv2dTest, RefusesAResidualOfAnotherShape) {
  EXPECT_THROW(conv2d({.x = at::ones({2, 3, 4, 4}),
                       .weight = at::ones({5, 3, 1, 1}),
                       .residual = at::ones({2, 5, 4, 3})}),
               std::invalid_argument);
}

TEST(Conv2dTest, AShortcutIsAResidual) {
  at::manual_seed(3);
  const Tensor x = at::randn({2, 4, 6, 5}).contiguous(at::MemoryFormat::ChannelsLast);
  const Conv2dArgs side{
      .x = x, .x_rest = at::randn({2, 2, 6, 5}), .weight = at::randn({3, 6, 1, 1})};
  Conv2dArgs args{.x = x,
                  .weight = at::randn({3, 4, 3, 3}),
                  .bias = at::randn({3}),
                  .residual_bias = at::randn({3}),
                  .padding = 1};
  Conv2dArgs apart = args;
  apart.residual = conv2d(side);
  args.shortcut = &side;
  EXPECT_TRUE(at::equal(conv2d(args), conv2d(apart)));
  args.residual = apart.residual;
  EXPECT_THROW(conv2d(args), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
