#include "ddpm/diffusion/forward_frames.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ddpm/diffusion/betas.h"

namespace ddpm {
namespace {

using ::testing::ElementsAre;

TEST(ForwardFramesTest, EvenTimestepsGoFromTheImageToTheLast) {
  EXPECT_THAT(even_timesteps(5, 1000), ElementsAre(-1, 249, 499, 749, 999));
  EXPECT_THAT(even_timesteps(2, 300), ElementsAre(-1, 299));
  EXPECT_EQ(even_timesteps(11, 10).back(), 9);
  EXPECT_THROW(even_timesteps(1, 10), std::invalid_argument);
  EXPECT_THROW(even_timesteps(12, 10), std::invalid_argument);
}

TEST(ForwardFramesTest, OneNoiseDrownsTheImageAtEveryLevel) {
  const NoiseSchedule schedule = make_schedule(make_linear_betas(1000, 1e-4, 0.02));
  const Tensor x_start = at::linspace(-1, 1, 48, at::kFloat).view({1, 3, 4, 4});
  const auto frames = forward_frames(schedule, x_start, {-1, 10, 500, 999}, /*seed=*/7);
  EXPECT_TRUE(frames[0].x_t.equal(x_start));
  EXPECT_TRUE(std::isinf(frames[0].snr));
  const auto noise_of = [&](const ForwardFrame& frame) {
    return (frame.x_t - x_start * std::sqrt(frame.alpha_bar)) / std::sqrt(1 - frame.alpha_bar);
  };
  for (const size_t i : {size_t{1}, size_t{2}}) {
    EXPECT_NEAR(frames[i].snr, frames[i].alpha_bar / (1 - frames[i].alpha_bar), 1e-9);
    EXPECT_LT((noise_of(frames[i]) - noise_of(frames[3])).abs().max().item<double>(), 1e-4);
  }
  EXPECT_FALSE(forward_frames(schedule, x_start, {999}, 8)[0].x_t.allclose(frames[3].x_t));
  EXPECT_THROW(forward_frames(schedule, x_start, {1000}, 7), std::invalid_argument);
  EXPECT_THROW(forward_frames(schedule, x_start, {-2}, 7), std::invalid_argument);
}

TEST(ForwardFramesTest, EachPixelIsCountedOnce) {
  const Tensor counts = pixel_histogram(at::tensor({-9.0F, -2.99F, 0.01F, 0.02F, 9.0F}));
  EXPECT_EQ(counts.numel(), kHistogramBins);
  EXPECT_EQ(counts.sum().item<double>(), 5);
  EXPECT_EQ(counts[0].item<double>(), 2);
  EXPECT_EQ(counts[kHistogramBins / 2].item<double>(), 2);
  EXPECT_EQ(counts[-1].item<double>(), 1);
}

}  // namespace
}  // namespace ddpm
