#include "ddpm/sampling/image_to_image.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "sampling/analytic_networks.h"
#include "sampling/sampler_cases.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::every_kind;
using testing::gaussian_x_start;
using ::testing::HasSubstr;
using testing::independent_pixels;
using testing::long_schedule;
using testing::short_schedule;
using ::testing::ThrowsMessage;

SampleRequest square_request(int64_t images) {
  return {.seed = 2, .num_images = images, .image_shape = {1, 4, 4}};
}

Denoiser gaussian_model(const NoiseSchedule& schedule, double mean, double deviation) {
  return {schedule, PredictionType::kSample,
          gaussian_x_start(schedule, independent_pixels(16, mean, deviation))};
}

TEST(ImageToImageTest, AtStrengthOneItIsPlainSamplingBitForBit) {
  const Denoiser model{short_schedule(), PredictionType::kVelocity,
                       [](const Tensor& x, const Tensor&) { return x * 0.5; }};
  for (const SamplerOptions& options : every_kind()) {
    SCOPED_TRACE(testing::describe(options, model.prediction));
    const Tensor plain =
        sample(model.schedule, model.prediction, model.denoise, options, square_request(2));
    const Tensor edited =
        image_to_image(model, options, at::full({1, 1, 4, 4}, 0.3), 1, square_request(2));
    EXPECT_TRUE(at::equal(plain, edited));
  }
}

// dpmpp_2s makes three steps of five levels and of four.
TEST(ImageToImageTest, BelowStrengthOneTheSourceCountsHoweverASolverGroupsLevels) {
  const Denoiser model = gaussian_model(long_schedule(), 0, 0.5);
  const SamplerOptions options{.kind = SamplerKind::kDpmpp2s, .steps = 5};
  const auto edited = [&](double value) {
    return image_to_image(model, options, at::full({1, 1, 4, 4}, value), 0.8, square_request(1));
  };
  EXPECT_FALSE(at::equal(edited(0.9), edited(-0.9)));
}

TEST(ImageToImageTest, StrengthIsThePartOfTheStepsThatIsTaken) {
  const NoiseSchedule schedule = long_schedule();
  const SamplerOptions options{.steps = 20};
  const auto all = make_levels(schedule, options);
  for (const auto& [strength, steps] : {std::pair{1.0, 20}, {0.5, 10}, {0.26, 5}, {0.001, 1}}) {
    const auto levels = last_levels(schedule, options, strength);
    ASSERT_EQ(levels.size(), static_cast<size_t>(steps + 1)) << strength;
    EXPECT_EQ(levels.front().t, all[static_cast<size_t>(20 - steps)].t);
    EXPECT_EQ(levels.back().alpha_bar, 1);
  }
}

TEST(ImageToImageTest, AListOfTheFirstTimestepAloneIsRefused) {
  const SamplerOptions options{
      .steps = 1, .spacing = TimestepSpacing::kLeading, .final_sigma = FinalSigma::kSigmaMin};
  EXPECT_THAT([&] { last_levels(long_schedule(), options, 1); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("[make_levels] steps: expected 2")));
  SamplerOptions raised = options;
  raised.steps_offset = 1;
  EXPECT_EQ(last_levels(long_schedule(), raised, 1).size(), 2U);
}

TEST(ImageToImageTest, TheLessStrengthTheNearerToTheSource) {
  const Denoiser model = gaussian_model(long_schedule(), 0, 0.5);
  const Tensor source = at::linspace(-0.8, 0.8, 16).view({1, 1, 4, 4});
  const SamplerOptions options{.steps = 50, .clip = X0Clip::kNone};
  double before = 0;
  for (const double strength : {0.02, 0.2, 0.5, 0.9}) {
    const Tensor images = image_to_image(model, options, source, strength, square_request(64));
    const double distance = (images - source).square().mean().sqrt().item<double>();
    EXPECT_GT(distance, before);
    before = distance;
    // The first level's sigma is what is added; the network takes some of it off again.
    const double sigma = edm_sigma(last_levels(model.schedule, options, strength)[0].alpha_bar);
    EXPECT_LT(distance, 1.2 * sigma);
  }
}

TEST(ImageToImageTest, ImagesOfTheDataStayImagesOfTheData) {
  // Noised data is what the network knows: going up and down again keeps the distribution.
  const Denoiser model = gaussian_model(long_schedule(), 0.2, 0.5);
  at::manual_seed(1);
  const Tensor source = at::randn({512, 1, 4, 4}) * 0.5 + 0.2;
  const SamplerOptions options{.kind = SamplerKind::kDdpm, .steps = 500, .clip = X0Clip::kNone};
  const Tensor images = image_to_image(model, options, source, 0.4, square_request(512));
  // 8192 pixels: the mean is known to 0.0055, the deviation to 0.0039; four times that.
  EXPECT_NEAR(images.mean().item<double>(), 0.2, 0.022);
  EXPECT_NEAR(images.std().item<double>(), 0.5, 0.016);
  EXPECT_GT((images - source).std().item<double>(), 0.1);
}

TEST(ImageToImageTest, WhatDoesNotFitIsRefused) {
  const Denoiser model = gaussian_model(long_schedule(), 0, 0.5);
  const auto run = [&](const Tensor& source, double strength) {
    return [=] { image_to_image(model, {.steps = 5}, source, strength, square_request(2)); };
  };
  using Error = std::invalid_argument;
  const Tensor source = at::zeros({1, 1, 4, 4});
  EXPECT_THAT(run(source, 0), ThrowsMessage<Error>(HasSubstr("strength")));
  EXPECT_THAT(run(source, 1.01), ThrowsMessage<Error>(HasSubstr("strength")));
  EXPECT_THAT(run(at::zeros({3, 1, 4, 4}), 0.5), ThrowsMessage<Error>(HasSubstr("source")));
  EXPECT_THAT(run(at::zeros({1, 1, 4, 5}), 0.5), ThrowsMessage<Error>(HasSubstr("source")));
}

}  // namespace
}  // namespace ddpm
