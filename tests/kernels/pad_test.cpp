#include "ddpm/kernels/pad.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ddpm/kernels/conv2d.h"

namespace ddpm {
namespace {

TEST(PadTest, ZerosStandToTheRightAndAtTheBottomAlone) {
  at::manual_seed(0);
  const Tensor x = at::randn({2, 3, 4, 5}, at::kDouble);
  const Tensor y = pad_right_and_bottom(x);
  EXPECT_EQ(y.sizes(), at::IntArrayRef({2, 3, 5, 6}));
  EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(at::equal(y.slice(2, 0, 4).slice(3, 0, 5), x));
  EXPECT_EQ(y.select(2, 4).count_nonzero().item<int64_t>(), 0);
  EXPECT_EQ(y.select(3, 5).count_nonzero().item<int64_t>(), 0);
}

TEST(PadTest, ForkGivesTheMapBack) {
  const Tensor x = at::randn({2, 3, 4, 5}, at::kDouble);
  const PadFork fork = pad_right_and_bottom_fork(x);
  EXPECT_TRUE(at::equal(fork.y, pad_right_and_bottom(x)));
  EXPECT_TRUE(at::equal(fork.x, x));
}

TEST(PadTest, AConvolutionPadsItsMapItself) {
  const Tensor x = at::randn({2, 3, 5, 4}).requires_grad_(true), weight = at::randn({6, 3, 3, 3});
  const Conv2dArgs args{.x = x, .weight = weight, .stride = 2, .padded = true};
  const Tensor expected = at::conv2d(pad_right_and_bottom(x), weight, /*bias=*/{}, {2, 2});
  EXPECT_TRUE(at::allclose(conv2d(args), expected));
  conv2d(args).sum().backward();
  EXPECT_GT(x.grad().abs().sum().item<double>(), 0);
}

}  // namespace
}  // namespace ddpm
