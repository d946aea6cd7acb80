#include "ddpm/sampling/sampler.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <stdexcept>

#include "ddpm/diffusion/forward_process.h"
#include "ddpm/sampling/sampler_state.h"
#include "sampling/sampler_cases.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::as_prediction;
using testing::describe;
using testing::every_kind;
using testing::every_sampler;
using ::testing::HasSubstr;
using testing::kEveryPrediction;
using testing::kEverySpacing;
using testing::long_schedule;
using testing::oracle;
using testing::short_schedule;
using testing::tensors_near;
using ::testing::ThrowsMessage;

SampleRequest request(int64_t num_images, std::vector<int64_t> image_shape, uint64_t seed = 7) {
  return {.seed = seed, .num_images = num_images, .image_shape = std::move(image_shape)};
}

/// A network without any idea that works element by element, so that it can't mix images.
Tensor halve(const Tensor& x_t, const Tensor&) { return x_t * 0.5; }

TEST(SamplerTest, OracleLeadsToItsImageForEverySamplerSpacingAndPrediction) {
  at::manual_seed(0);
  const NoiseSchedule schedule = short_schedule();
  const auto image = at::rand({1, 2, 3, 3}) * 2 - 1;
  for (SamplerOptions options : every_sampler()) {
    for (const TimestepSpacing spacing : kEverySpacing) {
      for (const int64_t steps : {1, 7, 50}) {
        for (const PredictionType prediction : kEveryPrediction) {
          options.spacing = spacing;
          options.steps = steps;
          SCOPED_TRACE(describe(options, prediction));
          const auto images = sample(schedule, prediction, oracle(schedule, prediction, image),
                                     options, request(2, {2, 3, 3}));
          // sqrt(1 / alpha_bar_T) = 14 is the most that eps rounding can grow by.
          EXPECT_TRUE(tensors_near(images, image.expand({2, 2, 3, 3}), 1e-5));
        }
      }
    }
  }
}

// Every kind, at so few steps that its first and last ones meet, at fractional timesteps, and from
// pure noise.
TEST(SamplerTest, OracleLeadsToItsImageForEveryKindOfSampler) {
  at::manual_seed(0);
  const auto image = at::rand({1, 2, 3, 3}) * 2 - 1;
  const DenoiseFn network = [&](const Tensor& x_t, const Tensor&) { return image.expand_as(x_t); };
  const NoiseSchedule zero_snr =
      make_schedule(rescale_zero_terminal_snr(make_linear_betas(1000, 1e-4, 0.02)));
  for (SamplerOptions options : every_kind()) {
    for (const int64_t steps : {1, 2, 3, 4, 5, 6, 30}) {
      options.steps = steps;
      const auto draw = [&](const NoiseSchedule& schedule) {
        SCOPED_TRACE(describe(options, PredictionType::kSample));
        const auto images =
            sample(schedule, PredictionType::kSample, network, options, request(2, {2, 3, 3}));
        // eps counts for up to 157 times pred_x_start's rounding, and cancels.
        EXPECT_TRUE(tensors_near(images, image.expand({2, 2, 3, 3}), 3e-4));
      };
      options.levels = LevelSpacing::kTimesteps;
      draw(short_schedule());
      if (options.kind != SamplerKind::kPndm) draw(zero_snr);
      options.levels = LevelSpacing::kKarras;
      // One Runge-Kutta step from sigma 157 to 0.01 would lose float32's digits to cancellation.
      if (options.kind != SamplerKind::kPndm || steps > 2) draw(long_schedule());
    }
  }
}

TEST(SamplerTest, NoiseIsNeverDrawnTwice) {
  for (SamplerOptions options : every_kind()) {
    for (const LevelSpacing levels : {LevelSpacing::kTimesteps, LevelSpacing::kKarras}) {
      options.levels = levels;
      options.steps = 40;
      std::set<uint32_t> seen;
      for (const SamplerCall& call :
           make_sampler_plan(short_schedule(), PredictionType::kSample, options).calls) {
        if (call.next.noise != 0) {
          EXPECT_TRUE(seen.insert(call.noise_step).second) << enum_word(options.kind);
        }
      }
    }
  }
}

TEST(SamplerTest, ClippingKeepsAnOracleOfAnImageInRange) {
  at::manual_seed(0);
  const NoiseSchedule schedule = short_schedule();
  const auto image = at::rand({1, 2, 3, 3}) * 2 - 1;
  for (const X0Clip clip : {X0Clip::kClip, X0Clip::kDynamic}) {
    for (SamplerOptions options : every_sampler()) {
      options.clip = clip;
      options.steps = 10;
      const auto images =
          sample(schedule, PredictionType::kEpsilon,
                 oracle(schedule, PredictionType::kEpsilon, image), options, request(1, {2, 3, 3}));
      EXPECT_TRUE(tensors_near(images, image, 1e-5));
    }
  }
}

// With a perfect network, one step must turn samples of q(x_t | x_0) into samples of q(x_prev |
// x_0).
TEST(SamplerTest, StepMovesSamplesToThePreviousMarginal) {
  at::manual_seed(0);
  const NoiseSchedule schedule = short_schedule();
  const auto x_start = at::full({50000, 1, 1, 1}, 0.5);
  for (SamplerOptions options : every_sampler()) {
    if (options.variance == VarianceOverride::kFixedLarge) continue;  // wider, by definition
    options.steps = 5;
    const auto plan = make_sampler_plan(schedule, PredictionType::kVelocity, options);
    const NoiseLevel& next = plan.calls[1].next_level;
    const auto t = plan_timesteps(plan, x_start)[1];
    const auto x_t = q_sample(schedule, x_start, t, at::randn_like(x_start));
    const auto v = oracle(schedule, PredictionType::kVelocity, x_start)(x_t, t);
    const auto x_prev =
        advance(plan, options, {.x = x_t, .position = 1}, v, at::randn_like(x_t)).state.x;
    // 5e4 samples: the mean is known to 0.0045, the deviation to 0.0032; four times is allowed.
    EXPECT_NEAR(x_prev.mean().item<double>(), 0.5 * signal_scale(next), 0.018);
    EXPECT_NEAR(x_prev.std().item<double>(), noise_scale(next), 0.013);
  }
}

/// The best network for pixels drawn from N(mean, deviation^2): E[x_0 | x_t] in closed form.
DenoiseFn gaussian_network(const NoiseSchedule& schedule, double mean, double deviation) {
  return [=](const Tensor& x_t, const Tensor& t) {
    const Tensor a = schedule.alphas_cumprod.index_select(0, t).view({-1, 1, 1, 1});
    const double variance = deviation * deviation;
    const Tensor gain = variance * a.sqrt() / (variance * a + 1 - a);
    return (mean + gain * (x_t - a.sqrt() * mean)).to(at::kFloat);
  };
}

// Every sampler must draw Gaussian data from a network that knows it, in the limit of many steps.
TEST(SamplerTest, GaussianDataIsDrawnWithItsMeanAndDeviation) {
  const NoiseSchedule schedule = long_schedule();
  const DenoiseFn network = gaussian_network(schedule, 0.3, 0.2);
  for (SamplerOptions options : every_sampler()) {
    options.steps = 1000;
    SCOPED_TRACE(describe(options, PredictionType::kSample));
    const auto images =
        sample(schedule, PredictionType::kSample, network, options, request(4, {1, 32, 32}));
    // 4096 pixels: the mean is known to 0.003, the deviation to 0.0022; four times that, and 0.004
    // for steps of finite length.
    EXPECT_NEAR(images.mean().item<double>(), 0.3, 0.0125);
    EXPECT_NEAR(images.std().item<double>(), 0.2, 0.013);
  }
}

// DDIM at eta = 0 is linear here, so its deviation is a product of known factors. It must approach
// the data's as 1 / steps.
TEST(SamplerTest, DdimConvergesToTheDataInFirstOrder) {
  const NoiseSchedule schedule = long_schedule();
  const auto error = [&](int64_t num_steps) {
    double scale = 1;  // of x_t around its mean
    const auto plan = make_sampler_plan(schedule, PredictionType::kSample,
                                        {.kind = SamplerKind::kDdim, .steps = num_steps});
    for (const SamplerCall& call : plan.calls) {
      const double a = call.level.alpha_bar;
      scale *= call.next.pred_x_start * 0.04 * std::sqrt(a) / (0.04 * a + 1 - a) + call.next.x;
    }
    return std::abs(scale - 0.2);
  };
  EXPECT_LT(error(1000), 2e-3);
  EXPECT_NEAR(error(50) / error(100), 2, 0.4);
  EXPECT_NEAR(error(100) / error(200), 2, 0.4);
}

TEST(SamplerTest, DdimAtEtaOneAndEveryTimestepGivesTheAncestralImages) {
  const NoiseSchedule schedule = short_schedule();
  const auto image = at::full({1, 1, 1, 1}, 0.4);
  const auto network =
      as_prediction(schedule, PredictionType::kEpsilon,
                    [&](const Tensor& x_t, const Tensor&) { return 0.7 * image + 0.2 * x_t; });
  const auto draw = [&](const SamplerOptions& options) {
    return sample(schedule, PredictionType::kEpsilon, network, options, request(3, {1, 5, 5}));
  };
  const auto ancestral = draw({.kind = SamplerKind::kDdpm});
  EXPECT_TRUE(
      tensors_near(draw({.kind = SamplerKind::kDdim, .steps = 50, .eta = 1.0}), ancestral, 1e-5));
  EXPECT_FALSE(
      tensors_near(draw({.kind = SamplerKind::kDdim, .steps = 50, .eta = 0.9}), ancestral, 1e-3));
}

// 75 elements an image and 40 images: neither vector width nor the threads' shares divide them.
TEST(SamplerTest, ImagesHaveTheSameBitsInEveryBatch) {
  const NoiseSchedule schedule = short_schedule();
  std::vector<SamplerOptions> cases = every_sampler();
  for (const SamplerOptions& options : every_kind()) cases.push_back(options);
  for (SamplerOptions options : cases) {
    for (const X0Clip clip : {X0Clip::kNone, X0Clip::kClip, X0Clip::kDynamic}) {
      options.clip = clip;
      options.steps = 6;
      SCOPED_TRACE(describe(options, PredictionType::kEpsilon));
      SampleRequest all = request(40, {3, 5, 5});
      all.first_image = 100;
      const auto together = sample(schedule, PredictionType::kEpsilon, halve, options, all);
      for (const uint64_t i : {0U, 1U, 17U, 39U}) {
        SampleRequest one = request(1, {3, 5, 5});
        one.first_image = 100 + i;
        const auto alone = sample(schedule, PredictionType::kEpsilon, halve, options, one);
        EXPECT_TRUE(at::equal(alone[0], together[static_cast<int64_t>(i)])) << "image " << i;
      }
    }
  }
}

TEST(SamplerTest, LargeBatchesHaveTheSameBitsToo) {
  const SamplerOptions options{.kind = SamplerKind::kDdpm, .steps = 4, .clip = X0Clip::kNone};
  const NoiseSchedule schedule = short_schedule();
  const auto draw = [&](uint64_t first, int64_t count) {
    SampleRequest part = request(count, {3, 17, 19});  // above at::parallel_for's grain for 64
    part.first_image = first;
    return sample(schedule, PredictionType::kVelocity, halve, options, part);
  };
  const auto together = draw(0, 64);
  EXPECT_TRUE(at::equal(draw(0, 1), together.slice(0, 0, 1)));
  EXPECT_TRUE(at::equal(draw(30, 7), together.slice(0, 30, 37)));
  EXPECT_TRUE(at::equal(draw(63, 1), together.slice(0, 63)));
}

TEST(SamplerTest, SeedsAndImagesDiffer) {
  const NoiseSchedule schedule = short_schedule();
  const auto draw = [&](uint64_t seed) {
    return sample(schedule, PredictionType::kEpsilon, halve, {.steps = 3},
                  request(2, {1, 4, 4}, seed));
  };
  EXPECT_TRUE(at::equal(draw(1), draw(1)));
  EXPECT_FALSE(at::equal(draw(1), draw(2)));
  EXPECT_FALSE(at::equal(draw(1)[0], draw(1)[1]));
}

TEST(SamplerTest, StateIsNeverClampedAndTheNetworkSeesFloat32AndInt64) {
  const NoiseSchedule schedule = short_schedule();
  std::vector<int64_t> timesteps;
  double largest = 0;
  const DenoiseFn network = [&](const Tensor& x_t, const Tensor& t) {
    EXPECT_EQ(x_t.scalar_type(), at::kFloat);
    EXPECT_EQ(t.scalar_type(), at::kLong);
    EXPECT_EQ(t.sizes(), at::IntArrayRef({4}));
    timesteps.push_back(t[3].item<int64_t>());
    largest = x_t.abs().max().item<double>();
    return (x_t * 0.5).to(at::kBFloat16);  // a half precision network
  };
  const auto images =
      sample(schedule, PredictionType::kVelocity, network, {.steps = 2}, request(4, {1, 8, 8}));
  EXPECT_THAT(timesteps, ::testing::ElementsAre(49, 24));
  EXPECT_GT(largest, 1.5);  // at t = 24, after a step with x_0 clipped
  EXPECT_EQ(images.scalar_type(), at::kFloat);
  EXPECT_LE(images.abs().max().item<double>(), 1);  // the last step gives the clipped x_0
}

TEST(SamplerTest, TraceShowsEveryStepAndItsPartsMakeXT) {
  const NoiseSchedule schedule = short_schedule();
  std::vector<SampleTrace> traces;
  const SampleRequest drawn = request(2, {1, 4, 4});
  const auto images = sample(schedule, PredictionType::kEpsilon, halve, {.steps = 5}, drawn,
                             [&](const SampleTrace& trace) { traces.push_back(trace); });
  ASSERT_EQ(traces.size(), 5U);
  EXPECT_TRUE(at::equal(traces[0].x_t, initial_noise(drawn)));
  EXPECT_TRUE(tensors_near(traces[4].pred_x_start, images, 1e-6));
  for (size_t i = 0; i < traces.size(); ++i) {
    const SampleTrace& trace = traces[i];
    EXPECT_EQ(trace.step, static_cast<int64_t>(i));
    EXPECT_EQ(trace.t, 49 - 10 * trace.step);
    EXPECT_LE(trace.pred_x_start.abs().max().item<double>(), 1);
    const auto t = at::full({2}, trace.t, at::kLong);
    EXPECT_TRUE(
        tensors_near(q_sample(schedule, trace.pred_x_start, t, trace.eps()), trace.x_t, 1e-5));
  }
}

TEST(SamplerTest, SamplingKeepsNoGraph) {
  const auto weight = at::ones({1}).set_requires_grad(true);
  const auto images = sample(
      short_schedule(), PredictionType::kEpsilon,
      [&](const Tensor& x_t, const Tensor&) { return x_t * weight; }, {.steps = 2},
      request(1, {1, 2, 2}));
  EXPECT_FALSE(images.requires_grad());
}

TEST(SamplerTest, WrongRequestsAreRefusedInOneSentence) {
  const NoiseSchedule schedule = short_schedule();
  const auto draw = [&](const SampleRequest& wrong, const SamplerOptions& options = {}) {
    return [=] { sample(schedule, PredictionType::kEpsilon, halve, options, wrong); };
  };
  EXPECT_THAT(draw(request(0, {3, 4, 4})),
              ThrowsMessage<std::invalid_argument>(
                  "[sample] num_images is too small: expected 1 or more, got 0"));
  EXPECT_THAT(draw(request(1, {4, 4})),
              ThrowsMessage<std::invalid_argument>(HasSubstr("image_shape must be [C, H, W]")));
  EXPECT_THROW(draw(request(1, {3, 0, 4}))(), std::invalid_argument);
  EXPECT_THAT(draw(request(1, {3, 4, 4}), {.steps = 51}),
              ThrowsMessage<std::invalid_argument>(HasSubstr("expected 0 to 50, got 51")));
  const DenoiseFn two_channels = [](const Tensor& x_t, const Tensor&) {
    return at::cat({x_t, x_t}, /*dim=*/1);
  };
  EXPECT_THAT(
      [&] {
        sample(schedule, PredictionType::kEpsilon, two_channels, {}, request(1, {3, 4, 4}));
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("expected [1, 3, 4, 4], got [1, 6, 4, 4]")));
}

}  // namespace
}  // namespace ddpm
