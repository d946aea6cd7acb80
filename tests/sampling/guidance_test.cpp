#include "ddpm/sampling/guidance.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "ddpm/sampling/levels.h"
#include "ddpm/sampling/sampler.h"
#include "sampling/analytic_networks.h"
#include "sampling/sampler_cases.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::as_prediction;
using testing::gaussian_x_start;
using ::testing::HasSubstr;
using testing::independent_pixels;
using testing::kEveryPrediction;
using testing::long_schedule;
using testing::short_schedule;
using testing::tensors_near;
using ::testing::ThrowsMessage;

/// Counts its calls and remembers the size of the last batch.
struct CountedNetwork {
  DenoiseFn network;
  std::shared_ptr<int> calls = std::make_shared<int>(0);
  std::shared_ptr<int64_t> batch = std::make_shared<int64_t>(0);

  DenoiseFn counted() const {
    return [network = network, calls = calls, batch = batch](const Tensor& x, const Tensor& t) {
      ++*calls;
      *batch = x.size(0);
      return network(x, t);
    };
  }
};

/// As two networks in one batch: the first half of it is `strong`'s.
DenoiseFn in_one_batch(const DenoiseFn& strong, const DenoiseFn& weak) {
  return [=](const Tensor& x, const Tensor& t) {
    const auto xs = x.chunk(2);
    const auto ts = t.chunk(2);
    return at::cat({strong(xs[0], ts[0]), weak(xs[1], ts[1])});
  };
}

DenoiseFn constant(double value) {
  return [value](const Tensor& x, const Tensor&) { return at::full_like(x, value); };
}

TEST(GuidanceTest, GuidedGaussiansOfOneDeviationAreDrawnAtTheExtrapolatedMean) {
  // eps of N(m, s^2) is linear in m, so guidance from N(0.1, s^2) to N(0.3, s^2) at scale 2.5 is
  // exactly N(0.1 + 2.5 * 0.2, s^2).
  const NoiseSchedule schedule = long_schedule();
  const auto with_class = gaussian_x_start(schedule, independent_pixels(64, 0.3, 0.2));
  const auto without = gaussian_x_start(schedule, independent_pixels(64, 0.1, 0.2));
  const SamplerOptions options{.kind = SamplerKind::kDpmpp2m,
                               .steps = 200,
                               .spacing = TimestepSpacing::kLinspace,
                               .clip = X0Clip::kNone};
  const SampleRequest request{.seed = 3, .num_images = 64, .image_shape = {1, 8, 8}};
  const Tensor expected =
      sample(schedule, PredictionType::kSample,
             gaussian_x_start(schedule, independent_pixels(64, 0.6, 0.2)), options, request);
  // 4096 pixels: the mean is known to 0.0031, the deviation to 0.0022; four times that.
  EXPECT_NEAR(expected.mean().item<double>(), 0.6, 0.0125);
  EXPECT_NEAR(expected.std().item<double>(), 0.2, 0.009);
  for (const PredictionType prediction : kEveryPrediction) {
    SCOPED_TRACE(static_cast<int>(prediction));
    const DenoiseFn strong = as_prediction(schedule, prediction, with_class);
    const DenoiseFn weak = as_prediction(schedule, prediction, without);
    const GuidanceOptions guidance{.scale = 2.5, .interval = {}};
    for (const DenoiseFn& network :
         {classifier_free_guidance(schedule, guidance, strong, in_one_batch(strong, weak)),
          autoguidance(schedule, guidance, strong, weak)}) {
      const Tensor images = sample(schedule, prediction, network, options, request);
      EXPECT_TRUE(tensors_near(images, expected, 1e-3)) << "float32, over 200 steps";
    }
  }
}

TEST(GuidanceTest, ClassAndNoClassShareOneBatch) {
  const CountedNetwork conditional{constant(1)};
  const CountedNetwork both{in_one_batch(constant(1), constant(-1))};
  const DenoiseFn network = classifier_free_guidance(short_schedule(), {.scale = 3, .interval = {}},
                                                     conditional.counted(), both.counted());
  const Tensor output = network(at::zeros({4, 1, 2, 2}), at::arange(4));
  EXPECT_EQ(*conditional.calls, 0);
  EXPECT_EQ(*both.calls, 1);
  EXPECT_EQ(*both.batch, 8);
  EXPECT_TRUE(tensors_near(output, at::full({4, 1, 2, 2}, 5.0), 0)) << "-1 + 3 * (1 - -1)";
}

TEST(GuidanceTest, ScaleOneCallsTheConditionalNetworkAlone) {
  const CountedNetwork conditional{constant(1)};
  const CountedNetwork other{constant(-1)};
  for (const DenoiseFn& network :
       {classifier_free_guidance(short_schedule(), {.rescale = 0.7, .interval = {}},
                                 conditional.counted(), other.counted()),
        autoguidance(short_schedule(), {.interval = {}}, conditional.counted(), other.counted())}) {
    EXPECT_TRUE(at::equal(network(at::zeros({2, 1, 2, 2}), at::arange(2)), at::ones({2, 1, 2, 2})));
  }
  EXPECT_EQ(*conditional.calls, 2);
  EXPECT_EQ(*other.calls, 0);
}

TEST(GuidanceTest, ScaleZeroIsTheWeakAnswer) {
  const Tensor strong = at::randn({2, 3, 4, 4});
  const Tensor weak = at::randn({2, 3, 4, 4});
  EXPECT_TRUE(tensors_near(guide({.scale = 0, .interval = {}}, strong, weak, 3), weak, 0));
}

TEST(GuidanceTest, RescaleGivesEachImageTheDeviationOfTheUnguidedAnswer) {
  at::manual_seed(0);
  const Tensor strong = at::randn({3, 2, 8, 8}) * at::tensor({0.5, 1.0, 2.0}).view({3, 1, 1, 1});
  const Tensor weak = at::randn({3, 2, 8, 8});
  const Tensor plain = guide({.scale = 4, .interval = {}}, strong, weak, 2);
  const auto deviation = [](const Tensor& x) { return x.flatten(1).std(/*dim=*/1); };
  const Tensor whole = guide({.scale = 4, .rescale = 1, .interval = {}}, strong, weak, 2);
  EXPECT_TRUE(tensors_near(deviation(whole), deviation(strong), 1e-5));
  const Tensor half = guide({.scale = 4, .rescale = 0.5, .interval = {}}, strong, weak, 2);
  EXPECT_TRUE(tensors_near(half, (whole + plain) / 2, 1e-5)) << "phi mixes the two";
}

TEST(GuidanceTest, LearnedVarianceIsThatOfTheConditionalAnswer) {
  const Tensor strong = at::randn({2, 6, 4, 4});
  const Tensor weak = at::randn({2, 6, 4, 4});
  const Tensor guided = guide({.scale = 3, .rescale = 0.5, .interval = {}}, strong, weak, 3);
  EXPECT_TRUE(at::equal(guided.narrow(1, 3, 3), strong.narrow(1, 3, 3)));
  EXPECT_TRUE(tensors_near(guided.narrow(1, 0, 3),
                           guide({.scale = 3, .rescale = 0.5, .interval = {}},
                                 strong.narrow(1, 0, 3), weak.narrow(1, 0, 3), 3),
                           0));
}

TEST(GuidanceTest, IntervalGuidesOnlyLevelsWithin) {
  const NoiseSchedule schedule = short_schedule();
  const LevelTable table = make_level_table(schedule);
  const auto sigma = [&](size_t t) { return edm_sigma(table.alphas_cumprod.at(t)); };
  const CountedNetwork conditional{constant(1)};
  const CountedNetwork both{in_one_batch(constant(1), constant(0))};
  const DenoiseFn network =
      classifier_free_guidance(schedule, {.scale = 3, .interval = {sigma(10), sigma(20)}},
                               conditional.counted(), both.counted());
  const Tensor t = at::tensor({9, 10, 15, 20, 21}, at::kLong);
  const Tensor output = network(at::zeros({5, 1, 1, 1}), t).flatten();
  EXPECT_TRUE(at::equal(output, at::tensor({1.0F, 3.0F, 3.0F, 3.0F, 1.0F}))) << output;
  EXPECT_EQ(*conditional.calls, 0);
  network(at::zeros({2, 1, 1, 1}), at::tensor({9, 21}, at::kLong));
  EXPECT_EQ(*both.calls, 1) << "no image is within: one call of N images";
  EXPECT_EQ(*conditional.calls, 1);
  network(at::zeros({1, 1, 1, 1}), at::tensor({9.5F}));
  EXPECT_EQ(*both.calls, 1);
  network(at::zeros({1, 1, 1, 1}), at::tensor({10.5F}));
  EXPECT_EQ(*both.calls, 2) << "fractional timesteps";
}

TEST(GuidanceTest, OptionsOutOfRangeAndUnequalAnswersAreRefused) {
  const auto build = [](const GuidanceOptions& options) {
    return [=] { autoguidance(short_schedule(), options, constant(1), constant(0)); };
  };
  using Error = std::invalid_argument;
  EXPECT_THAT(build({.scale = -1, .interval = {}}), ThrowsMessage<Error>(HasSubstr("scale")));
  EXPECT_THAT(build({.rescale = 1.5, .interval = {}}), ThrowsMessage<Error>(HasSubstr("rescale")));
  EXPECT_THAT(build({.interval = {1}}), ThrowsMessage<Error>(HasSubstr("two ascending sigmas")));
  EXPECT_THAT(build({.interval = {2, 1}}), ThrowsMessage<Error>(HasSubstr("two ascending")));
  EXPECT_THAT(build({.interval = {1e4, 1e5}}), ThrowsMessage<Error>(HasSubstr("none of")));
  const GuidanceOptions options{.scale = 2, .interval = {}};
  EXPECT_THAT(
      [&] {
        guide(options, at::zeros({1, 3, 2, 2}), at::zeros({1, 1, 2, 2}), 3);
      },
      ThrowsMessage<Error>(HasSubstr("differ in shape")));
  EXPECT_THAT(
      [&] {
        guide(options, at::zeros({1, 5, 2, 2}), at::zeros({1, 5, 2, 2}), 3);
      },
      ThrowsMessage<Error>(HasSubstr("C = 3")));
}

TEST(GuidanceTest, ImagesOfOneBatchAreGuidedByTheirOwnOptions) {
  at::manual_seed(4);
  const GuidanceOptions off;
  const GuidanceOptions far{.scale = 3.5, .interval = {}};
  const GuidanceOptions rescaled{.scale = 2, .rescale = 0.7, .interval = {}};
  const std::vector<const GuidanceOptions*> options{&far, &off, &rescaled, &far};
  for (const int64_t channels : {2, 4}) {
    const Tensor strong = at::randn({4, channels, 5, 3});
    const Tensor weak = at::randn({4, channels, 5, 3});
    const Tensor each = guide_each(options, strong, weak, 2);
    for (int64_t i = 0; i < 4; ++i) {
      SCOPED_TRACE(i);
      const Tensor alone =
          guide(*options[static_cast<size_t>(i)], strong.narrow(0, i, 1), weak.narrow(0, i, 1), 2);
      EXPECT_TRUE(tensors_near(each.narrow(0, i, 1), alone, 1e-6));
    }
    EXPECT_TRUE(at::equal(each[1], strong[1]));
  }
  const Tensor answer = at::zeros({3, 2, 5, 3});
  EXPECT_THROW(guide_each(options, answer, answer, 2), std::invalid_argument);
}

TEST(GuidanceTest, IntervalsAreTimestepsOfTheSchedule) {
  const NoiseSchedule schedule = long_schedule();
  EXPECT_FALSE(guided_timesteps(schedule, GuidanceOptions()).has_value());
  const LevelTable table = make_level_table(schedule);
  const double low = edm_sigma(table.alphas_cumprod[200]);
  const double high = edm_sigma(table.alphas_cumprod[600]);
  const auto range = guided_timesteps(schedule, {.interval = {low, high}});
  ASSERT_TRUE(range.has_value());
  EXPECT_TRUE(range->contains(200) && range->contains(600));
  EXPECT_FALSE(range->contains(199) || range->contains(601));
}

}  // namespace
}  // namespace ddpm
