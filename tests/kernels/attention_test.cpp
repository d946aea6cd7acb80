#include "ddpm/kernels/attention.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

TEST(AttentionTest, EqualsItsDefinitionForEachHead) {
  at::manual_seed(0);
  constexpr int64_t kHeads = 2;
  constexpr int64_t kWidth = 3;
  const Tensor qkv = at::randn({2, 5, 3 * kHeads * kWidth}, at::kDouble);
  const Tensor y = attention(qkv, kHeads);
  for (int64_t head = 0; head < kHeads; ++head) {
    const auto part = [&](int64_t i) {
      return qkv.narrow(/*dim=*/2, (i * kHeads + head) * kWidth, kWidth);
    };
    const Tensor scores = at::matmul(part(0), part(1).transpose(1, 2)) / std::sqrt(3.0);
    EXPECT_TRUE(tensors_near(y.narrow(/*dim=*/2, head * kWidth, kWidth),
                             at::matmul(scores.softmax(2), part(2)), 1e-12));
  }
}

TEST(AttentionTest, RefusesChannelsThatTheHeadsDoNotDivide) {
  EXPECT_THROW(attention(at::ones({1, 4, 12}), 3), std::invalid_argument);
  EXPECT_THROW(attention(at::ones({4, 12}), 1), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
