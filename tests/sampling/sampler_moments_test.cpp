#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <string>

#include "ddpm/sampling/sampler_plan.h"
#include "sampling/analytic_data.h"
#include "sampling/sampler_cases.h"

// For Gaussian data the best network is linear, so that the variance of a sampler's states follows
// from its plan in closed form, noise included: no image is drawn here.
namespace ddpm {
namespace {

using testing::describe;
using testing::every_kind;
using testing::long_schedule;
using testing::smooth_levels;

constexpr double kDataDeviation = 0.5;
constexpr auto kValues = static_cast<int64_t>(1 + kMemorySlots);  // x and the memory

double marginal_variance(const NoiseLevel& level) {
  return kDataDeviation * kDataDeviation * level.alpha_bar + 1 - level.alpha_bar;
}

/// A row over (x, memory), pred_x_start being gain * x.
Tensor coefficients_of(const UpdateRow& row, double gain) {
  Tensor values = at::zeros({kValues}, at::kDouble);
  values[0] = row.x + row.pred_x_start * gain;
  for (size_t k = 0; k < kMemorySlots; ++k) values[static_cast<int64_t>(k) + 1] = row.memory[k];
  return values;
}

/// Variances of the states at the ends of steps, first to last.
std::vector<double> variances(const SamplerPlan& plan) {
  Tensor covariance = at::zeros({kValues, kValues}, at::kDouble);
  covariance[0][0] = marginal_variance(plan.calls.front().level);
  std::vector<double> list;
  for (const SamplerCall& call : plan.calls) {
    const double gain =
        kDataDeviation * kDataDeviation * signal_scale(call.level) / marginal_variance(call.level);
    Tensor step = at::eye(kValues, at::kDouble);
    step[0] = coefficients_of(call.next, gain);
    for (const auto& [slot, row] : call.writes)
      step[static_cast<int64_t>(slot) + 1] = coefficients_of(row, gain);
    covariance = step.matmul(covariance).matmul(step.t());
    covariance[0][0] += call.next.noise * call.next.noise;
    if (call.ends_step) list.push_back(covariance[0][0].item<double>());
  }
  return list;
}

double deviation_error(SamplerOptions options, int num_steps) {
  options.lower_order_final = false;
  const auto levels = smooth_levels(num_steps, /*graded=*/true);
  const auto plan = make_sampler_plan(long_schedule(), PredictionType::kSample, options, levels);
  return std::abs(std::sqrt(variances(plan).back()) - std::sqrt(marginal_variance(levels.back())));
}

// The history of a noisy path is noisy itself, so a third node (dpmpp_3m_sde) makes the error
// smaller but not of higher order.
TEST(SamplerMomentsTest, VarianceOfSdeSamplersFallsToTheDataWithTheirOrder) {
  using enum SamplerKind;
  struct Case {
    SamplerOptions options;
    double order;
  };
  for (const auto& [options, order] :
       std::initializer_list<Case>{{{.kind = kDdpm}, 1},
                                   {{.kind = kDdim, .eta = 0.5}, 1},
                                   {{.kind = kDdim, .eta = 1}, 1},
                                   {{.kind = kEulerAncestral}, 1},
                                   {{.kind = kEulerAncestral, .ancestral_eta = 0.6}, 1},
                                   {{.kind = kDpmpp2mSde}, 2},
                                   {{.kind = kDpmpp2mSde, .ancestral_eta = 0.4}, 2},
                                   {{.kind = kDpmpp3mSde}, 2}}) {
    SCOPED_TRACE(describe(options, PredictionType::kSample));
    const double coarse = deviation_error(options, 100);
    const double fine = deviation_error(options, 200);
    EXPECT_NEAR(std::log2(coarse / fine), order, 0.3) << coarse << " -> " << fine;
  }
}

bool is_first_order(const SamplerOptions& options) {
  using enum SamplerKind;
  return options.kind == kDdpm || options.kind == kDdim || options.kind == kEuler ||
         options.kind == kEulerAncestral || options.order == 1;
}

TEST(SamplerMomentsTest, EveryStateOfEverySamplerHasTheMarginalVariance) {
  for (SamplerOptions options : every_kind()) {
    for (const LevelSpacing levels : {LevelSpacing::kTimesteps, LevelSpacing::kKarras}) {
      options.steps = 200;
      options.levels = levels;
      SCOPED_TRACE(describe(options, PredictionType::kSample));
      const auto plan = make_sampler_plan(long_schedule(), PredictionType::kSample, options);
      const auto list = variances(plan);
      size_t step = 0;
      for (const SamplerCall& call : plan.calls) {
        if (!call.ends_step) continue;
        const double deviation = std::sqrt(list[step++]);
        const double expected = std::sqrt(marginal_variance(call.next_level));
        ASSERT_NEAR(deviation / expected, 1, is_first_order(options) ? 0.05 : 0.02)
            << "step " << step;
      }
    }
  }
}

}  // namespace
}  // namespace ddpm
