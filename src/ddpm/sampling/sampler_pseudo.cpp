#include <algorithm>

#include "ddpm/core/check.h"
#include "ddpm/sampling/sampler_families.h"

namespace ddpm {
namespace {

constexpr int kStepX = 0;      // memory: x where a step of several calls begins,
constexpr int kFirstEps = 1;   // a ring of three eps,
constexpr int kMiddleEps = 4;  // the sum of the two half-way eps of a Runge-Kutta step
constexpr size_t kRingSize = 3;
constexpr size_t kWarmupSteps = 3;

/// eps of the step that began at level i.
int ring_slot(size_t i) { return kFirstEps + static_cast<int>(i % kRingSize); }

MemoryWrite remember_eps(size_t i, const NoiseLevel& level) {
  return {static_cast<size_t>(ring_slot(i)), node_row(UpdateForm::kEps, level)};
}

/// Adams-Bashforth weights of equal steps, newest first.
std::vector<double> adams_bashforth(size_t order) {
  switch (order) {
    case 1:
      return {1.0};
    case 2:
      return {3.0 / 2, -1.0 / 2};
    case 3:
      return {23.0 / 12, -16.0 / 12, 5.0 / 12};
    default:
      return {55.0 / 24, -59.0 / 24, 37.0 / 24, -9.0 / 24};
  }
}

/// Steps from level `begin` on, with the eps of the `known` levels before it in the ring.
void add_multistep(SamplerCalls& calls, const Levels& levels, size_t begin, size_t known) {
  for (size_t i = begin; i + 1 < levels.size(); ++i) {
    const size_t order = std::min(known + 1 + (i - begin), kRingSize + 1);
    std::vector<StepNode> nodes{{levels[i], kCurrent}};
    for (size_t k = 1; k < order; ++k) nodes.push_back({levels[i - k], ring_slot(i - k)});
    calls.push_back({.level = levels[i],
                     .next_level = levels[i + 1],
                     .next = eps_step({levels[i]}, levels[i + 1], nodes, adams_bashforth(order)),
                     .writes = {remember_eps(i, levels[i])}});
  }
}

/// Improved Euler from level i: the mean of eps at both ends.
void add_improved_euler(SamplerCalls& calls, const Levels& levels, size_t i) {
  const NoiseLevel& from = levels[i];
  const NoiseLevel& to = levels[i + 1];
  calls.push_back({.level = from,
                   .next_level = to,
                   .next = eps_step({from}, to, {{from}}, {1.0}),
                   .writes = {{kStepX, {.x = 1}}, remember_eps(i, from)},
                   .ends_step = false});
  calls.push_back({.level = to,
                   .next_level = to,
                   .next = eps_step({from, kStepX}, to, {{from, ring_slot(i)}, {to}}, {0.5, 0.5})});
}

/// The classical Runge-Kutta step from level i, in DDIM's transfer [PNDM Sec. 3].
void add_runge_kutta(SamplerCalls& calls, const Levels& levels, size_t i,
                     const NoiseLevel& middle) {
  const NoiseLevel& from = levels[i];
  const NoiseLevel& to = levels[i + 1];
  const StepNode start{from, kStepX};
  calls.push_back({.level = from,
                   .next_level = middle,
                   .next = eps_step({from}, middle, {{from}}, {1.0}),
                   .writes = {{kStepX, {.x = 1}}, remember_eps(i, from)},
                   .ends_step = false});
  UpdateRow sum = node_row(UpdateForm::kEps, middle);
  calls.push_back({.level = middle,
                   .next_level = middle,
                   .next = eps_step(start, middle, {{middle}}, {1.0}),
                   .writes = {{kMiddleEps, sum}},
                   .ends_step = false});
  sum.memory[kMiddleEps] = 1;
  calls.push_back({.level = middle,
                   .next_level = to,
                   .next = eps_step(start, to, {{middle}}, {1.0}),
                   .writes = {{kMiddleEps, sum}},
                   .ends_step = false});
  calls.push_back({.level = to,
                   .next_level = to,
                   .next = eps_step(start, to, {{from, ring_slot(i)}, {middle, kMiddleEps}, {to}},
                                    {1.0 / 6, 2.0 / 6, 1.0 / 6})});
}

}  // namespace

SamplerCalls plms_calls(const Levels& levels) {
  SamplerCalls calls;
  // From pure noise (alpha_bar = 0) a step needs x_0, which a mean of eps does not give.
  const size_t begin = levels.front().alpha_bar == 0 ? 1 : 0;
  if (begin == 1) calls = ddim_calls({levels[0], levels[1]}, /*eta=*/0);
  if (begin + 1 >= levels.size()) return calls;
  if (levels[begin + 1].alpha_bar == 1) {
    add_multistep(calls, levels, begin, /*known=*/0);
    return calls;
  }
  add_improved_euler(calls, levels, begin);
  // The call at the step's end answers for x before its correction; the next step asks again.
  add_multistep(calls, levels, begin + 1, /*known=*/1);
  return calls;
}

SamplerCalls pndm_calls(const Levels& levels, const LevelTable& table) {
  check_arg(levels.front().alpha_bar > 0,
            "[pndm_calls] Runge-Kutta steps begin with signal: expected alpha_bar above 0, got 0; "
            "use plms");
  SamplerCalls calls;
  const size_t steps_between_levels = levels.size() - (levels.back().alpha_bar == 1 ? 2 : 1);
  const size_t warmup = std::min(steps_between_levels, kWarmupSteps);
  for (size_t i = 0; i < warmup; ++i) {
    const double middle = (levels[i].t + levels[i + 1].t) / 2;
    add_runge_kutta(calls, levels, i, level_at_timestep(table, middle));
  }
  add_multistep(calls, levels, warmup, /*known=*/warmup);
  return calls;
}

}  // namespace ddpm
