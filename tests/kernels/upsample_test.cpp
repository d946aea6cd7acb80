#include "ddpm/kernels/upsample.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

TEST(UpsampleTest, RepeatsEveryPixelFourTimes) {
  at::manual_seed(0);
  const Tensor x = at::randn({2, 3, 4, 5}).requires_grad_(true);
  const Tensor y = upsample_nearest_2x(x);
  EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(at::equal(y, x.repeat_interleave(2, 2).repeat_interleave(2, 3)));
  const Tensor d_y = at::randn_like(y);
  y.backward(d_y);
  EXPECT_TRUE(tensors_near(x.grad(), d_y.view({2, 3, 4, 2, 5, 2}).sum({3, 5}), 1e-6));
}

}  // namespace
}  // namespace ddpm
