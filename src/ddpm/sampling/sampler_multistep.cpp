#include <algorithm>
#include <cmath>

#include "ddpm/sampling/sampler_families.h"

namespace ddpm {
namespace {

constexpr size_t kFewSteps = 15;  // below it orders are lowered at the end of any list

bool ends_at_image(const Levels& levels) { return levels.back().alpha_bar == 1; }

/// Order of step i: as many nodes as there are.
int order_of_step(size_t i, int order) {
  return static_cast<int>(std::min(static_cast<size_t>(order), i + 1));
}

/// As above; fewer where log(sigma) ends, and in the last steps if asked for.
int order_of_step(const Levels& levels, size_t i, int order, bool lower_order_final) {
  const size_t steps_left = levels.size() - 1 - i;
  const bool lowered = lower_order_final || (steps_left == 1 && ends_at_image(levels));
  return order_of_step(i, lowered ? std::min(order, static_cast<int>(steps_left)) : order);
}

/// A ring of slots that holds the values of the calls before.
struct Ring {
  int first_slot;
  int size;
  int slot(size_t call) const { return first_slot + static_cast<int>(call) % size; }
};

/// This call's node and those of `order` - 1 calls before, newest first.
std::vector<StepNode> newest_nodes(const Levels& levels, const Ring& ring, size_t i, int order) {
  std::vector<StepNode> nodes{{levels[i], kCurrent}};
  for (int k = 1; k < order; ++k) {
    const size_t earlier = i - static_cast<size_t>(k);
    nodes.push_back({levels[earlier], ring.slot(earlier)});
  }
  return nodes;
}

UpdateRow combine(const UpdateRow& outer, const UpdateRow& x) {
  UpdateRow row = outer;
  row.x = outer.x * x.x;
  row.pred_x_start += outer.x * x.pred_x_start;
  for (size_t k = 0; k < kMemorySlots; ++k) row.memory[k] += outer.x * x.memory[k];
  return row;
}

}  // namespace

SamplerCalls multistep_calls(const Levels& levels, const StepRule& rule, int order,
                             bool lower_order_final) {
  const Ring ring{0, std::max(order - 1, 1)};
  const bool lowers = lower_order_final && (ends_at_image(levels) || levels.size() - 1 < kFewSteps);
  SamplerCalls calls;
  for (size_t i = 0; i + 1 < levels.size(); ++i) {
    const int step_order = rule.form == UpdateForm::kSigma
                               ? order_of_step(i, order)
                               : order_of_step(levels, i, order, lowers);
    const auto nodes = newest_nodes(levels, ring, i, step_order);
    SamplerCall call{.level = levels[i],
                     .next_level = levels[i + 1],
                     .next = interpolated_step(rule, nodes.front(), levels[i + 1], nodes)};
    if (order > 1) {
      call.writes = {{static_cast<size_t>(ring.slot(i)), node_row(rule.form, levels[i])}};
    }
    calls.push_back(call);
  }
  return calls;
}

SamplerCalls singlestep_calls(const Levels& levels, const StepRule& rule, int order,
                              bool lower_order_final) {
  constexpr int kStart = 0;  // memory: x where the group begins, then the group's nodes
  const size_t num_steps = levels.size() - 1;
  const bool none_left = num_steps % static_cast<size_t>(order) == 0;
  const bool last_alone = ends_at_image(levels) || (lower_order_final && none_left);
  const size_t grouped = num_steps - (last_alone ? 1 : 0);
  SamplerCalls calls;
  for (size_t begin = 0; begin < num_steps;) {
    const bool alone = begin >= grouped || levels[begin].alpha_bar == 0;
    const size_t size = alone ? 1 : std::min(static_cast<size_t>(order), grouped - begin);
    std::vector<StepNode> nodes;
    for (size_t j = 0; j < size; ++j) {
      const NoiseLevel& level = levels[begin + j];
      const int slot = kStart + 1 + static_cast<int>(j);
      nodes.push_back({level, kCurrent});
      const StepNode start{levels[begin], j == 0 ? kCurrent : kStart};
      SamplerCall call{.level = level,
                       .next_level = levels[begin + j + 1],
                       .next = interpolated_step(rule, start, levels[begin + j + 1], nodes),
                       .ends_step = j + 1 == size};
      if (j == 0 && size > 1) call.writes.push_back({kStart, {.x = 1}});
      if (j + 1 < size)
        call.writes.push_back({static_cast<size_t>(slot), node_row(rule.form, level)});
      nodes.back().slot = slot;
      calls.push_back(call);
    }
    begin += size;
  }
  return calls;
}

SamplerCalls unipc_calls(const Levels& levels, int order, UnipcVariant variant,
                         bool lower_order_final) {
  constexpr int kCorrected = 0;  // memory: the last corrected x, then the ring
  const StepRule rule{
      .form = UpdateForm::kXStart,
      .slope = variant == UnipcVariant::kBh1 ? SlopeRule::kHalfSquare : SlopeRule::kMidpoint};
  const Ring ring{1, order};
  SamplerCalls calls;
  for (size_t i = 0; i + 1 < levels.size(); ++i) {
    UpdateRow corrected{.x = 1};
    if (i > 0) {
      const int last_order = order_of_step(levels, i - 1, order, lower_order_final);
      std::vector<StepNode> nodes = newest_nodes(levels, ring, i - 1, last_order);
      nodes.front().slot = ring.slot(i - 1);
      nodes.push_back({levels[i], kCurrent});
      corrected = interpolated_step(rule, {levels[i - 1], kCorrected}, levels[i], nodes);
    }
    const auto nodes =
        newest_nodes(levels, ring, i, order_of_step(levels, i, order, lower_order_final));
    const UpdateRow predicted = interpolated_step(rule, nodes.front(), levels[i + 1], nodes);
    calls.push_back({.level = levels[i],
                     .next_level = levels[i + 1],
                     .next = combine(predicted, corrected),
                     .writes = {{kCorrected, corrected},
                                {static_cast<size_t>(ring.slot(i)),
                                 node_row(UpdateForm::kXStart, levels[i])}}});
  }
  return calls;
}

}  // namespace ddpm
