#include "ddpm/serving/engine/scheduler.h"

#include <algorithm>
#include <queue>
#include <tuple>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

/// A contender's next image of the batch.
struct NextTurn {
  double service = 0;
  uint64_t order = 0;
  std::size_t contender = 0;
  std::size_t image = 0;

  bool operator<(const NextTurn& other) const {  // the queue gives the greatest first
    return std::tie(other.service, other.order) < std::tie(service, order);
  }
};

std::size_t num_images(const Contender& contender) {
  return contender.in_flight.size() + static_cast<std::size_t>(contender.num_waiting);
}

/// Counts the slots that a batch's new images take.
class SlotBudget {
 public:
  explicit SlotBudget(const BatchLimits& limits)
      : free_(limits.free_slots), reserved_(limits.reserved_slots) {}

  /// Whether the contender may put another image in flight.
  bool take(const Contender& contender, std::size_t image) {
    const bool first = contender.in_flight.empty() && image == 0;
    if (free_ <= (first ? 0 : reserved_)) return false;
    --free_;
    return true;
  }

 private:
  int64_t free_;
  int64_t reserved_;
};

/// Takes picks from the end until at most `rows` are left: those of the most served requests.
void cut_picks(std::vector<Pick>& picks, int64_t total, int64_t rows) {
  while (total > rows) {
    total -= picks.back().rows;
    picks.pop_back();
  }
}

}  // namespace

int64_t padded_size(int64_t rows, const std::vector<int64_t>& sizes) {
  const auto above = std::lower_bound(sizes.begin(), sizes.end(), rows);
  return above == sizes.end() ? rows : *above;
}

int64_t cut_to_size(int64_t rows, const std::vector<int64_t>& sizes) {
  const auto above = std::lower_bound(sizes.begin(), sizes.end(), rows);
  if (rows <= kSmallBatch || above == sizes.begin()) return rows;
  const bool padded = above != sizes.end() && static_cast<double>(*above - rows) <=
                                                  kMaxPadding * static_cast<double>(*above);
  return padded ? rows : *(above - 1);
}

std::vector<Pick> pick_batch(const std::vector<Contender>& contenders, const BatchLimits& limits) {
  check_arg(limits.max_rows >= 1, "[pick_batch] max_rows: expected 1 or more, got ",
            limits.max_rows);
  std::priority_queue<NextTurn> turns;
  for (std::size_t i = 0; i < contenders.size(); ++i) {
    const Contender& contender = contenders[i];
    check_arg(contender.weight > 0, "[pick_batch] weight: expected a positive one, got ",
              contender.weight);
    if (num_images(contender) > 0) turns.push({contender.service, contender.order, i, 0});
  }
  SlotBudget slots(limits);
  std::vector<Pick> picks;
  int64_t total = 0;
  while (!turns.empty() && total < limits.max_rows) {
    NextTurn turn = turns.top();
    turns.pop();
    const Contender& contender = contenders[turn.contender];
    const bool is_new = turn.image >= contender.in_flight.size();
    const int64_t rows = is_new ? contender.rows_of_waiting : contender.in_flight[turn.image];
    if (total + rows > limits.max_rows) continue;
    if (is_new && !slots.take(contender, turn.image)) continue;
    picks.push_back({turn.contender, turn.image, rows});
    total += rows;
    turn.service += static_cast<double>(rows) / contender.weight;
    if (++turn.image < num_images(contender)) turns.push(turn);
  }
  const int64_t worth = cut_to_size(total, limits.sizes);
  if (worth < total) cut_picks(picks, total, worth);
  return picks;
}

}  // namespace ddpm
