#include "ddpm/kernels/captured_copy.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace ddpm {
namespace {

TEST(CapturedCopyTest, MapsOfACpuAreNotTaken) {
  const CallInputs from{.x = at::ones({1, 3, 4, 4}), .t = at::zeros({1}, at::kLong)};
  const CallInputs to{.x = at::zeros({1, 3, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast),
                      .t = at::ones({1}, at::kLong)};
  EXPECT_FALSE(CapturedCopy::takes(from, to));
  CapturedCopy copy;
  EXPECT_THROW(copy.copy(from, to), std::invalid_argument);
  EXPECT_TRUE(at::equal(to.x, at::zeros({1, 3, 4, 4})));  // nothing half done
}

}  // namespace
}  // namespace ddpm
