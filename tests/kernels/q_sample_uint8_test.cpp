#include "ddpm/kernels/q_sample_uint8.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

/// Two images of 1 x 2 pixels and two channels, at the ends of a table of three timesteps.
QSampleUint8Args small_args() {
  QSampleUint8Args args;
  args.images = at::tensor({0, 255, 51, 102, 204, 0, 255, 0}, at::kByte).view({2, 2, 1, 2});
  args.flip = at::tensor({0, 1}, at::kLong).to(at::kBool);
  args.t = at::tensor({2, 0}, at::kLong);
  args.noise = at::arange(8, at::kFloat).view({2, 2, 1, 2});
  args.sqrt_alphas_cumprod = at::tensor({0.5F, 7.0F, 0.25F}, at::kFloat);
  args.sqrt_one_minus_alphas_cumprod = at::tensor({2.0F, 9.0F, 1.0F}, at::kFloat);
  return args;
}

TEST(QSampleUint8Test, ScalesMirrorsAndNoisesEachImageByItsOwnTimestep) {
  const NoisedBatch batch = q_sample_uint8(small_args());
  // 51, 102 and 204 are a fifth, two fifths and four fifths of 255.
  const Tensor x_start =
      at::tensor({-1.0, 1.0, -0.6, -0.2, -1.0, 0.6, -1.0, 1.0}, at::kFloat).view({2, 2, 1, 2});
  EXPECT_TRUE(tensors_near(batch.x_start, x_start, 1e-6));
  const Tensor x_t =
      at::tensor({-0.25, 1.25, 1.85, 2.95, 7.5, 10.3, 11.5, 14.5}, at::kFloat).view({2, 2, 1, 2});
  EXPECT_TRUE(tensors_near(batch.x_t, x_t, 1e-5));
}

TEST(QSampleUint8Test, WithoutFlipsImagesStay) {
  QSampleUint8Args args = small_args();
  args.flip = Tensor();
  const Tensor expected = args.images.to(at::kFloat) / 127.5 - 1;
  EXPECT_TRUE(tensors_near(q_sample_uint8(args).x_start, expected, 1e-6));
}

TEST(QSampleUint8Test, Bf16IsRoundedOnceFromTheFloat32Result) {
  QSampleUint8Args args = small_args();
  const NoisedBatch exact = q_sample_uint8(args);
  args.x_t_dtype = at::kBFloat16;
  const NoisedBatch rounded = q_sample_uint8(args);
  EXPECT_TRUE(at::equal(rounded.x_t, exact.x_t.to(at::kBFloat16)));
  EXPECT_EQ(rounded.x_start.scalar_type(), at::kFloat);
}

TEST(QSampleUint8Test, BothAreChannelsLastWhateverTheNoisesLayout) {
  at::manual_seed(0);
  QSampleUint8Args args = small_args();
  args.images = at::randint(256, {2, 3, 5, 4}, at::kByte);
  args.noise = at::randn({2, 3, 5, 4});
  const NoisedBatch batch = q_sample_uint8(args);
  EXPECT_TRUE(batch.x_start.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_TRUE(batch.x_t.is_contiguous(at::MemoryFormat::ChannelsLast));
  args.noise = args.noise.contiguous(at::MemoryFormat::ChannelsLast);
  EXPECT_TRUE(at::equal(q_sample_uint8(args).x_t, batch.x_t));
}

TEST(QSampleUint8Test, RefusesWrongShapesAndTypes) {
  QSampleUint8Args args = small_args();
  args.images = args.images.to(at::kFloat);
  EXPECT_THROW(q_sample_uint8(args), std::invalid_argument);
  args = small_args();
  args.noise = at::zeros({2, 2, 2, 2});
  EXPECT_THROW(q_sample_uint8(args), std::invalid_argument);
  args = small_args();
  args.t = at::zeros({3}, at::kLong);
  EXPECT_THROW(q_sample_uint8(args), std::invalid_argument);
  args = small_args();
  args.sqrt_alphas_cumprod = args.sqrt_alphas_cumprod.to(at::kDouble);
  EXPECT_THROW(q_sample_uint8(args), std::invalid_argument);
  args = small_args();
  args.x_t_dtype = at::kHalf;
  EXPECT_THROW(q_sample_uint8(args), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
