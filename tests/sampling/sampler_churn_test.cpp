#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ddpm/sampling/sampler_state.h"
#include "sampling/analytic_data.h"
#include "sampling/sampler_cases.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::long_schedule;
using testing::tensors_near;
using testing::two_bells;

struct ChurnSettings {
  double churn, t_min, t_max, noise;
};

/// EDM's Algorithm 2 as the paper has it, in its own view: noise first, then two slopes.
/// @param sigmas from noise to 0. @param noise one a step, of deviation 1.
Tensor edm_algorithm_2(const Tensor& start, const std::vector<double>& sigmas,
                       const ChurnSettings& s, bool heun, const std::vector<Tensor>& noise) {
  const auto slope = [](const Tensor& x, double sigma) {
    const NoiseLevel level{0, alpha_bar_of_sigma(sigma)};
    return (x - two_bells().expected_x_start(x * signal_scale(level), level)) / sigma;
  };
  Tensor x = start;
  const auto steps = static_cast<double>(sigmas.size() - 1);
  for (size_t i = 0; i + 1 < sigmas.size(); ++i) {
    const bool churned = i > 0 && sigmas[i] >= s.t_min && sigmas[i] <= s.t_max;
    const double gamma = churned ? std::min(s.churn / steps, std::sqrt(2.0) - 1) : 0;
    const double raised = sigmas[i] * (1 + gamma);
    x = x + s.noise * std::sqrt(raised * raised - sigmas[i] * sigmas[i]) * noise[i];
    const Tensor first = slope(x, raised);
    Tensor next = x + (sigmas[i + 1] - raised) * first;
    if (heun && sigmas[i + 1] > 0) {
      next = x + (sigmas[i + 1] - raised) * (first + slope(next, sigmas[i + 1])) / 2;
    }
    x = next;
  }
  return x;
}

TEST(SamplerChurnTest, HeunAndEulerWithChurnAreAlgorithm2OfEdm) {
  at::manual_seed(0);
  for (const SamplerKind kind : {SamplerKind::kHeun, SamplerKind::kEuler}) {
    const SamplerOptions options{.kind = kind,
                                 .steps = 8,
                                 .levels = LevelSpacing::kKarras,
                                 .s_churn = 2,
                                 .s_tmin = 0.05,
                                 .s_tmax = 50,
                                 .s_noise = 1.007,
                                 .clip = X0Clip::kNone};
    const auto levels = make_levels(long_schedule(), options);
    std::vector<double> sigmas;
    std::vector<Tensor> noise;
    for (const NoiseLevel& level : levels) {
      sigmas.push_back(edm_sigma(level.alpha_bar));
      noise.push_back(at::randn({2, 1, 3, 3}, at::kDouble));
    }
    const Tensor x = at::randn({2, 1, 3, 3}, at::kDouble);
    const Tensor expected =
        edm_algorithm_2(x / signal_scale(levels.front()), sigmas, {2, 0.05, 50, 1.007},
                        kind == SamplerKind::kHeun, noise);
    const auto plan = make_sampler_plan(long_schedule(), PredictionType::kSample, options);
    SamplerState state{.x = x};
    size_t step = 0;
    for (const SamplerCall& call : plan.calls) {
      const Tensor x_start = two_bells().expected_x_start(state.x, call.level);
      step += call.ends_step ? 1 : 0;
      state = advance(plan, options, state, x_start, noise[step]).state;
    }
    EXPECT_TRUE(tensors_near(state.x, expected, 1e-10));
  }
}

TEST(SamplerChurnTest, ChurnedLevelsKeepToTheScheduleAndToTheirRange) {
  SamplerOptions options{.kind = SamplerKind::kHeun, .steps = 10, .s_churn = 100};
  const auto levels = make_levels(long_schedule(), options);
  const auto plan = make_sampler_plan(long_schedule(), PredictionType::kSample, options);
  EXPECT_EQ(plan.calls.front().level.alpha_bar, levels.front().alpha_bar);  // nothing is above
  const double raised = edm_sigma(plan.calls[2].level.alpha_bar);
  EXPECT_NEAR(raised / edm_sigma(levels[1].alpha_bar), std::sqrt(2.0), 1e-9);
  EXPECT_EQ(plan.calls.back().next.noise, 0);
  options.s_tmin = 1e3;
  for (const SamplerCall& call :
       make_sampler_plan(long_schedule(), PredictionType::kSample, options).calls) {
    EXPECT_EQ(call.next.noise, 0);
  }
}

}  // namespace
}  // namespace ddpm
