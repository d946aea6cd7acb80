#include "ddpm/model/timestep_embedding.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

TEST(TimestepEmbeddingTest, IsSinesThenCosinesOfGeometricFrequencies) {
  const Tensor t = at::tensor({0, 3, 999}, at::kLong);
  const Tensor embedding = timestep_embedding(
      t, {.size = 6, .flip_sin_to_cos = false, .freq_shift = 1, .dtype = at::kDouble});
  for (int64_t n = 0; n < 3; ++n) {
    for (int64_t i = 0; i < 3; ++i) {  // frequencies 1, 1/100, 1/10000
      const double angle = t[n].item<double>() * std::pow(100.0, static_cast<double>(-i));
      EXPECT_NEAR(embedding[n][i].item<double>(), std::sin(angle), 1e-12);
      EXPECT_NEAR(embedding[n][3 + i].item<double>(), std::cos(angle), 1e-12);
    }
  }
}

TEST(TimestepEmbeddingTest, FlippingPutsCosinesFirst) {
  const Tensor t = at::tensor({0, 3, 999}, at::kLong);
  const Tensor plain = timestep_embedding(t, {.size = 8, .flip_sin_to_cos = false});
  const Tensor flipped = timestep_embedding(t, {.size = 8, .flip_sin_to_cos = true});
  EXPECT_TRUE(at::equal(flipped.roll(4, 1), plain));
}

TEST(TimestepEmbeddingTest, WithoutShiftTheLastFrequencyStaysAboveOneInTenThousand) {
  const Tensor embedding = timestep_embedding(
      at::ones({1}), {.size = 4, .flip_sin_to_cos = false, .freq_shift = 0, .dtype = at::kDouble});
  EXPECT_NEAR(embedding[0][1].item<double>(), std::sin(0.01), 1e-12);
}

TEST(TimestepEmbeddingTest, OddSizesEndWithZero) {
  const Tensor embedding = timestep_embedding(at::full({1}, 5), {.size = 7});
  ASSERT_EQ(embedding.size(1), 7);
  EXPECT_EQ(embedding[0][6].item<float>(), 0.0F);
}

}  // namespace
}  // namespace ddpm
