#include "ddpm/sampling/interpolate.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "sampling/analytic_networks.h"
#include "sampling/sampler_cases.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::gaussian_x_start;
using ::testing::HasSubstr;
using testing::independent_pixels;
using testing::long_schedule;
using testing::smooth_pixels;
using testing::tensors_near;
using ::testing::ThrowsMessage;

TEST(InterpolateTest, SlerpTurnsAtConstantSpeedAndEndsExactly) {
  const Tensor a = at::tensor({2.0F, 0.0F});
  const Tensor b = at::tensor({0.0F, 2.0F});
  EXPECT_TRUE(at::equal(slerp(a, b, 0), a));
  EXPECT_TRUE(at::equal(slerp(a, b, 1), b));
  for (const double weight : {0.25, 0.5, 0.9}) {
    const double angle = weight * std::acos(0.0);
    EXPECT_TRUE(tensors_near(
        slerp(a, b, weight),
        at::tensor({2 * std::cos(angle), 2 * std::sin(angle)}, at::kDouble).to(at::kFloat), 1e-6));
  }
  EXPECT_TRUE(tensors_near(slerp(a, a * 3, 0.5), a * 2, 1e-6)) << "no angle: a straight line";
  EXPECT_THAT([&] { slerp(a, -a, 0.5); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("opposite")));
  EXPECT_THAT([&] { slerp(a, at::zeros({3}), 0.5); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("shape")));
}

TEST(InterpolateTest, BetweenNoisesThereIsNoise) {
  at::manual_seed(0);
  const Tensor path = slerp_path(at::randn({1, 3, 32, 32}), at::randn({1, 3, 32, 32}), /*count=*/5);
  EXPECT_EQ(path.size(0), 5);
  for (int64_t i = 0; i < 5; ++i) EXPECT_NEAR(path[i].std().item<double>(), 1, 0.05);
}

TEST(InterpolateTest, DecodedNoiseOfARequestIsItsSample) {
  const NoiseSchedule schedule = long_schedule();
  const Denoiser model{schedule, PredictionType::kEpsilon,
                       [](const Tensor& x, const Tensor&) { return x * 0.5; }};
  const SampleRequest request{.seed = 4, .num_images = 2, .image_shape = {1, 4, 4}};
  for (const SamplerKind kind : {SamplerKind::kDdim, SamplerKind::kDpmpp2m, SamplerKind::kHeun}) {
    const SamplerOptions options{.kind = kind, .steps = 8};
    EXPECT_TRUE(
        at::equal(decode(model, options, initial_noise(request)),
                  sample(model.schedule, model.prediction, model.denoise, options, request)));
  }
}

TEST(InterpolateTest, EndsOfThePathAreTheImages) {
  const NoiseSchedule schedule = long_schedule();
  const Denoiser model{schedule, PredictionType::kSample,
                       gaussian_x_start(schedule, smooth_pixels(16, 0.1, 0.4, 0.9))};
  at::manual_seed(3);
  const Tensor first = at::rand({1, 1, 4, 4}) * 2 - 1;
  const Tensor second = at::rand({1, 1, 4, 4}) * 2 - 1;
  double before = 2;
  for (const int64_t steps : {20, 100, 500}) {
    const SamplerOptions options = path_sampler({.steps = steps});
    const Tensor path =
        decode(model, options, noise_path(model, options, at::cat({first, second}), /*count=*/5));
    ASSERT_EQ(path.sizes(), at::IntArrayRef({5, 1, 4, 4}));
    const double error = std::max((path[0] - first[0]).abs().max().item<double>(),
                                  (path[4] - second[0]).abs().max().item<double>());
    EXPECT_LT(error, before / 2) << steps << ": more levels come nearer";
    before = error;
  }
  EXPECT_LT(before, 0.05);
}

TEST(InterpolateTest, ThePathsSamplerKeepsTheLevelsAndNothingElse) {
  const SamplerOptions path = path_sampler({.kind = SamplerKind::kHeun,
                                            .steps = 7,
                                            .steps_offset = 1,
                                            .levels = LevelSpacing::kKarras,
                                            .rho = 3,
                                            .final_sigma = FinalSigma::kSigmaMin,
                                            .eta = 1,
                                            .s_churn = 40,
                                            .clip = X0Clip::kDynamic});
  EXPECT_EQ(path.kind, SamplerKind::kDdim);
  EXPECT_EQ(path.steps, 7);
  EXPECT_EQ(path.steps_offset, 1);
  EXPECT_EQ(path.levels, LevelSpacing::kKarras);
  EXPECT_EQ(path.rho, 3);
  EXPECT_EQ(path.final_sigma, FinalSigma::kZero);  // the path's ends are images
  EXPECT_EQ(path.eta, 0);
  EXPECT_EQ(path.s_churn, 0);
  EXPECT_EQ(path.clip, X0Clip::kNone);
}

TEST(InterpolateTest, SamplersWithNoiseInTheirStepsAreRefused) {
  const Denoiser model{long_schedule(), PredictionType::kEpsilon,
                       [](const Tensor& x, const Tensor&) { return x; }};
  const Tensor noise = at::zeros({1, 1, 2, 2});
  for (const SamplerOptions& options :
       {SamplerOptions{.kind = SamplerKind::kDdpm, .steps = 5},
        SamplerOptions{.kind = SamplerKind::kDdim, .steps = 5, .eta = 0.5}}) {
    EXPECT_THAT([&] { decode(model, options, noise); },
                ThrowsMessage<std::invalid_argument>(HasSubstr("without noise in its steps")));
  }
  EXPECT_THAT([&] { noise_path(model, {.steps = 5}, noise, 3); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("expected two")));
  EXPECT_THAT([&] { slerp_path(noise, noise, 1); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("count")));
}

}  // namespace
}  // namespace ddpm
