#include "ddpm/kernels/pad.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

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

}  // namespace
}  // namespace ddpm
