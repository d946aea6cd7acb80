#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <string>

#include "ddpm/sampling/sampler.h"
#include "ddpm/sampling/sampler_state.h"
#include "sampling/analytic_data.h"
#include "sampling/sampler_cases.h"
#include "support/tensor_matchers.h"

// Orders of convergence: with the exact network of known data, the error of n steps falls as n^-p.
namespace ddpm {
namespace {

using testing::gaussian_data;
using testing::long_schedule;
using testing::MixtureData;
using testing::probability_flow;
using testing::smooth_levels;
using testing::tensors_near;
using testing::two_bells;

struct OrderCase {
  SamplerOptions options;
  double order;
  bool graded = false;  ///< Multistep: see smooth_levels.
  int num_steps = 40;   ///< Of the coarser run.
};

std::string text_of(const OrderCase& c) {
  return std::string(enum_word(c.options.kind)) + " of order " + std::to_string(c.options.order) +
         ", " + enum_word(c.options.unipc);
}

std::vector<OrderCase> order_cases() {
  using enum SamplerKind;
  return {{{.kind = kDdim}, 1},
          {{.kind = kEuler}, 1},
          {{.kind = kHeun}, 2},
          {{.kind = kDpmpp2s}, 2},
          {{.kind = kDpmpp3s}, 3, false, 60},
          {{.kind = kDpmpp2m}, 2, true},
          {{.kind = kDpmpp3m}, 3, true},
          {{.kind = kDpm2s}, 2},
          {{.kind = kDpm3s}, 3, false, 60},
          {{.kind = kDeis, .order = 1}, 1, true},
          {{.kind = kDeis, .order = 2}, 2, true},
          {{.kind = kDeis}, 3, true, 80},
          {{.kind = kLms, .order = 1}, 1, true},
          {{.kind = kLms, .order = 2}, 2, true},
          {{.kind = kLms, .order = 3}, 3, true},
          {{.kind = kLms}, 4, true, 80},
          {{.kind = kUnipc, .order = 1}, 2, true},
          {{.kind = kUnipc, .order = 1, .unipc = UnipcVariant::kBh1}, 2, true},
          {{.kind = kUnipc, .order = 2}, 3, true},
          {{.kind = kUnipc, .order = 2, .unipc = UnipcVariant::kBh1}, 3, true},
          {{.kind = kUnipc, .order = 3}, 4, true}};
}

Tensor solve(const MixtureData& data, SamplerOptions options, const Tensor& x,
             const std::vector<NoiseLevel>& levels) {
  options.clip = X0Clip::kNone;
  options.lower_order_final = false;
  const auto plan = make_sampler_plan(long_schedule(), PredictionType::kSample, options, levels);
  SamplerState state{.x = x};
  for (const SamplerCall& call : plan.calls) {
    state = advance(plan, options, state, data.expected_x_start(state.x, call.level), {}).state;
  }
  return state.x;
}

Tensor starts() { return at::linspace(-2, 2, 9, at::kDouble).view({9, 1, 1, 1}); }

double error_of(const MixtureData& data, const OrderCase& c, int num_steps, const Tensor& exact) {
  const Tensor x = solve(data, c.options, starts(), smooth_levels(num_steps, c.graded));
  return (x - exact).abs().max().item<double>();
}

TEST(SamplerOrderTest, ErrorsFallWithTheOrderOnDataOfKnownScore) {
  for (const MixtureData& data : {gaussian_data(), two_bells()}) {
    const auto levels = smooth_levels(1, /*graded=*/false);
    const Tensor exact = probability_flow(data, starts(), levels.front(), levels.back());
    for (const OrderCase& c : order_cases()) {
      SCOPED_TRACE(text_of(c) + ", bells: " + std::to_string(data.components.size()));
      const double coarse = error_of(data, c, c.num_steps, exact);
      const double fine = error_of(data, c, 2 * c.num_steps, exact);
      EXPECT_NEAR(std::log2(coarse / fine), c.order, 0.3) << coarse << " -> " << fine;
    }
  }
}

// The flow of Gaussian data is known without any integration: x moves with its deviation.
TEST(SamplerOrderTest, TheReferenceIsTheExactFlowOfGaussianData) {
  const MixtureData data = gaussian_data();
  const auto levels = smooth_levels(1, /*graded=*/false);
  const auto deviation = [](double a) { return std::sqrt(0.25 * a + 1 - a); };
  const double a = levels.front().alpha_bar;
  const double p = levels.back().alpha_bar;
  const Tensor exact =
      0.3 * std::sqrt(p) + (starts() - 0.3 * std::sqrt(a)) * (deviation(p) / deviation(a));
  EXPECT_TRUE(
      tensors_near(probability_flow(data, starts(), levels.front(), levels.back()), exact, 1e-11));
}

// PNDM's weights are those of equal steps in t; its step is DDIM's, so it is of second order.
TEST(SamplerOrderTest, PseudoMultistepIsOfSecondOrderInT) {
  const LevelTable table = make_level_table(long_schedule());
  const auto levels_of = [&](int num_steps) {
    std::vector<NoiseLevel> levels;
    for (int i = 0; i <= num_steps; ++i)
      levels.push_back(level_at_timestep(table, 960 - i * (800 / num_steps)));
    return levels;
  };
  for (const SamplerKind kind : {SamplerKind::kPlms, SamplerKind::kPndm}) {
    SCOPED_TRACE(enum_word(kind));
    const MixtureData data = two_bells();
    const Tensor exact =
        probability_flow(data, starts(), levels_of(1).front(), levels_of(1).back());
    const auto error = [&](int num_steps) {
      const Tensor x = solve(data, {.kind = kind}, starts(), levels_of(num_steps));
      return (x - exact).abs().max().item<double>();
    };
    const double coarse = error(40);
    const double fine = error(80);
    EXPECT_NEAR(std::log2(coarse / fine), 2, 0.3) << coarse << " -> " << fine;
  }
}

}  // namespace
}  // namespace ddpm
