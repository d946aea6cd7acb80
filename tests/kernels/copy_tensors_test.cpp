#include "ddpm/kernels/copy_tensors.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

namespace ddpm {
namespace {

TEST(CopyTensorsTest, EachGoesWhereItBelongs) {
  const std::vector<Tensor> from{at::randn({3, 4}), at::randn({5})};
  const std::vector<Tensor> to{at::zeros({3, 4}), at::zeros({5}, at::kBFloat16)};
  copy_tensors(from, to);
  EXPECT_TRUE(at::equal(to[0], from[0]));
  EXPECT_TRUE(at::equal(to[1], from[1].to(at::kBFloat16)));
  copy_tensors({}, {});
  EXPECT_THROW(copy_tensors(from, {to[0]}), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
