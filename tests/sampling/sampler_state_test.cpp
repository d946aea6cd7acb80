#include "ddpm/sampling/sampler_state.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "sampling/sampler_cases.h"
#include "support/host_reads.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::every_kind;
using ::testing::HasSubstr;
using testing::host_reads;
using ::testing::IsEmpty;
using testing::kEveryPrediction;
using testing::long_schedule;
using testing::short_schedule;
using testing::tensors_near;
using ::testing::ThrowsMessage;

TEST(SamplerStateTest, XStartComesFromEveryPredictionAndEpsIsDerivedAgainAfterClipping) {
  at::manual_seed(0);
  const NoiseSchedule schedule = short_schedule();
  const auto x_t = at::randn({3, 1, 4, 4}) * 2;
  const auto output = at::randn_like(x_t);
  for (const PredictionType prediction : kEveryPrediction) {
    const SamplerOptions options{.kind = SamplerKind::kDdim, .steps = 10};
    const SamplerPlan plan = make_sampler_plan(schedule, prediction, options);
    const SamplerState state{.x = x_t, .position = 4};
    const SamplerCall& call = plan.calls[4];
    const auto result = advance(plan, options, state, output, {});
    const auto t = plan_timesteps(plan, state.x)[static_cast<int64_t>(state.position)];
    const auto x_start = predict_x_start(schedule, prediction, x_t, t, output).clamp(-1, 1);
    EXPECT_GT((x_start.abs() == 1).sum().item<int64_t>(), 0);  // some are clipped
    EXPECT_TRUE(tensors_near(result.pred_x_start, x_start, 1e-5));

    const auto eps = predict_eps(schedule, PredictionType::kSample, x_t, t, x_start);
    EXPECT_TRUE(
        tensors_near(eps_of_x_start(call.level.alpha_bar, x_t, result.pred_x_start), eps, 1e-5));
    const auto x_prev = signal_scale(call.next_level) * x_start +  // [DDIM Eq. 12], eta = 0
                        noise_scale(call.next_level) * eps;
    EXPECT_TRUE(tensors_near(result.state.x, x_prev, 1e-5));
  }
}

TEST(SamplerStateTest, ClippingKeepsToItsRange) {
  const Tensor x_start = at::tensor({-3.0, -0.4, 0.2, 0.9}, at::kDouble).view({1, 1, 2, 2});
  const SamplerOptions options{.clip = X0Clip::kClip, .clip_range = 0.5};
  EXPECT_TRUE(tensors_near(clip_x_start(options, x_start),
                           at::tensor({-0.5, -0.4, 0.2, 0.5}, at::kDouble).view({1, 1, 2, 2}), 0));
}

TEST(SamplerStateTest, DynamicThresholdScalesEachImageByItsOwnQuantile) {
  const SamplerOptions options{.clip = X0Clip::kDynamic, .dynamic_ratio = 0.75, .dynamic_max = 3};
  // Magnitudes sorted: image 0 has 0 1 2 4 4: its 0.75 quantile is 4 * 0.75 = index 3, limited to
  // 3. Image 1 stays below 1. Image 2 has 0 0 1 2 8: index 3 is 2.
  const auto x_start = at::tensor({0.0, -1.0, 2.0, 4.0, -4.0,  //
                                   0.1, -0.2, 0.3, 0.9, 1.0,   //
                                   0.0, 0.0, 1.0, -2.0, 8.0},
                                  at::kFloat)
                           .view({3, 1, 1, 5});
  const auto expected = at::tensor({0.0, -1.0 / 3, 2.0 / 3, 1.0, -1.0,  //
                                    0.1, -0.2, 0.3, 0.9, 1.0,           //
                                    0.0, 0.0, 0.5, -1.0, 1.0},
                                   at::kFloat)
                            .view({3, 1, 1, 5});
  EXPECT_TRUE(tensors_near(clip_x_start(options, x_start), expected, 1e-6));
}

TEST(SamplerStateTest, DynamicThresholdInterpolatesAsAtQuantileDoes) {
  at::manual_seed(0);
  for (const double ratio : {0.0, 0.31, 0.9, 0.995, 1.0}) {
    for (const int64_t size : {1, 2, 5, 33}) {
      const auto x_start = at::randn({4, 1, 1, size}) * 4;
      const auto s = x_start.abs().view({4, size}).quantile(ratio, 1).clamp(1, 100);
      const auto scale = s.view({4, 1, 1, 1});
      const auto expected = at::minimum(at::maximum(x_start, -scale), scale) / scale;
      const SamplerOptions options{.clip = X0Clip::kDynamic, .dynamic_ratio = ratio};
      EXPECT_TRUE(tensors_near(clip_x_start(options, x_start), expected, 1e-5)) << ratio;
    }
  }
}

TEST(SamplerStateTest, NothingIsReadOnTheHost) {
  const auto x_t = at::randn({2, 3, 4, 4});
  for (const X0Clip clip : {X0Clip::kNone, X0Clip::kClip, X0Clip::kDynamic}) {
    const SamplerOptions options{.kind = SamplerKind::kDdpm, .clip = clip};
    const auto plan = make_sampler_plan(long_schedule(), PredictionType::kEpsilon, options);
    EXPECT_THAT(host_reads([&] {
                  const auto result = advance(plan, options, {.x = x_t}, x_t, x_t);
                  eps_of_x_start(plan.calls[0].level.alpha_bar, x_t, result.pred_x_start);
                }),
                IsEmpty());
  }
}

// v = -1 and v = 1 are the two fixed variances, of strided steps too; 0 is their geometric mean.
TEST(SamplerStateTest, LearnedVarianceGoesFromTheSmallToTheLargeOne) {
  at::manual_seed(0);
  NoiseSchedule schedule = long_schedule();
  const Tensor x = at::randn({2, 3, 4, 4});
  const Tensor prediction = at::randn_like(x);
  const Tensor noise = at::randn_like(x);
  const auto step = [&](const SamplerOptions& options, const Tensor& output) {
    const auto plan = make_sampler_plan(schedule, PredictionType::kEpsilon, options);
    return advance(plan, options, {.x = x, .position = 2}, output, noise).state.x;
  };
  const SamplerOptions ddpm{.kind = SamplerKind::kDdpm, .steps = 10};
  SamplerOptions fixed = ddpm;
  fixed.variance = VarianceOverride::kFixedSmall;
  const Tensor small = step(fixed, prediction);
  fixed.variance = VarianceOverride::kFixedLarge;
  const Tensor large = step(fixed, prediction);
  const Tensor ddim = step({.kind = SamplerKind::kDdim, .steps = 10}, prediction);

  schedule.variance = VarianceType::kLearnedRange;
  const auto with_v = [&](double v) { return at::cat({prediction, at::full_like(x, v)}, 1); };
  EXPECT_TRUE(tensors_near(step(ddpm, with_v(-1)), small, 1e-5));
  EXPECT_TRUE(tensors_near(step(ddpm, with_v(1)), large, 1e-5));
  const auto call = make_sampler_plan(schedule, PredictionType::kEpsilon, ddpm).calls[2];
  const auto [lowest, highest] = call.learned_log_variance.value();
  const Tensor mean = step(ddpm, with_v(0)) - std::exp((lowest + highest) / 4) * noise;
  EXPECT_TRUE(tensors_near(mean, small - std::exp(lowest / 2) * noise, 1e-5));
  EXPECT_GT(highest, lowest);
  EXPECT_TRUE(tensors_near(step({.kind = SamplerKind::kDdim, .steps = 10}, with_v(0.3)), ddim, 0));
  EXPECT_THROW(step(ddpm, prediction), std::invalid_argument);
}

TEST(SamplerStateTest, WrongInputsAreRefused) {
  const auto x_t = at::zeros({2, 3, 4, 4});
  const SamplerOptions ddpm{.kind = SamplerKind::kDdpm, .steps = 2};
  const auto plan = make_sampler_plan(long_schedule(), PredictionType::kEpsilon, ddpm);
  EXPECT_THAT(
      [&] {
        advance(plan, ddpm, {.x = x_t}, at::zeros({2, 6, 4, 4}), x_t);
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("got [2, 6, 4, 4]")));
  EXPECT_THROW(advance(plan, ddpm, {.x = x_t}, x_t, {}), std::invalid_argument);
  EXPECT_THAT(
      [&] { advance(plan, ddpm, {.x = x_t, .position = 2}, x_t, x_t); },
      ThrowsMessage<std::invalid_argument>(HasSubstr("expected one of 2 calls, got number 2")));
}

TEST(SamplerStateTest, TimestepsAreWholeNumbersOrFloats) {
  const SamplerState state{.x = at::zeros({3, 1, 2, 2}), .position = 1};
  const auto whole = make_sampler_plan(long_schedule(), PredictionType::kEpsilon, {.steps = 3});
  EXPECT_TRUE(at::equal(plan_timesteps(whole, state.x)[1], at::full({3}, 666, at::kLong)));
  const auto karras = make_sampler_plan(long_schedule(), PredictionType::kEpsilon,
                                        {.steps = 3, .levels = LevelSpacing::kKarras});
  const Tensor t = plan_timesteps(karras, state.x)[1];
  EXPECT_EQ(t.scalar_type(), at::kFloat);
  EXPECT_EQ(t[2].item<double>(), static_cast<float>(karras.calls[1].level.t));
  for (const SamplerPlan& plan : {whole, karras}) {
    const Tensor all = plan_timesteps(plan, state.x);
    ASSERT_EQ(all.size(0), static_cast<int64_t>(plan.calls.size()));
    for (size_t i = 0; i < plan.calls.size(); ++i) {
      const auto of_call = at::full({3}, plan.calls[i].level.t, all.scalar_type());
      EXPECT_TRUE(at::equal(all[static_cast<int64_t>(i)], of_call)) << i;
    }
  }
}

// A server's batch: image i stands at call i of its own plan.
TEST(SamplerStateTest, ImagesOfDifferentPlansAdvanceTogetherAsTheyDoAlone) {
  at::manual_seed(0);
  std::vector<SamplerPlan> plans;
  for (const SamplerOptions& options : every_kind()) {
    plans.push_back(make_sampler_plan(long_schedule(), PredictionType::kVelocity, options));
  }
  const auto n = static_cast<int64_t>(plans.size());
  SamplerState state{.x = at::randn({n, 2, 3, 3})};
  for (Tensor& memory : state.memory) memory = at::randn_like(state.x);
  const Tensor output = at::randn_like(state.x);
  const Tensor noise = at::randn_like(state.x);
  std::vector<const SamplerCall*> calls;
  for (size_t i = 0; i < plans.size(); ++i) calls.push_back(&plans[i].calls[i % 5]);
  const SamplerOptions options{.clip = X0Clip::kClip};
  const AdvanceResult together = advance_each(calls, options, state, output, noise);
  for (int64_t i = 0; i < n; ++i) {
    SCOPED_TRACE(i);
    const auto index = static_cast<size_t>(i);
    SamplerState one{.x = state.x.slice(0, i, i + 1), .position = index % 5};
    for (size_t k = 0; k < kMemorySlots; ++k) one.memory[k] = state.memory[k].slice(0, i, i + 1);
    const AdvanceResult alone =
        advance(plans[index], options, one, output.slice(0, i, i + 1), noise.slice(0, i, i + 1));
    EXPECT_TRUE(tensors_near(together.pred_x_start[i], alone.pred_x_start[0], 1e-6));
    EXPECT_TRUE(tensors_near(together.state.x[i], alone.state.x[0], 2e-5));
    for (size_t k = 0; k < kMemorySlots; ++k) {
      EXPECT_TRUE(tensors_near(together.state.memory[k][i], alone.state.memory[k][0], 2e-5));
    }
  }
}

}  // namespace
}  // namespace ddpm
