#include "ddpm/serving/engine/scheduler.h"

#include <gtest/gtest.h>

#include <map>
#include <stdexcept>

namespace ddpm {
namespace {

/// Rows that each contender gets of one batch.
std::map<std::size_t, int64_t> rows_of(const std::vector<Pick>& picks) {
  std::map<std::size_t, int64_t> rows;
  for (const Pick& pick : picks) rows[pick.contender] += pick.rows;
  return rows;
}

TEST(SchedulerTest, ABatchIsSharedEquallyAndWhatSomeLeaveGoesToTheRest) {
  const std::vector<Contender> contenders{{.order = 0, .in_flight = std::vector<int64_t>(100, 1)},
                                          {.order = 1, .in_flight = {1, 1}},
                                          {.order = 2, .in_flight = std::vector<int64_t>(100, 1)}};
  const auto rows = rows_of(pick_batch(contenders, {.max_rows = 12}));
  EXPECT_EQ(rows, (std::map<std::size_t, int64_t>{{0, 5}, {1, 2}, {2, 5}}));
}

TEST(SchedulerTest, TheLeastServedGoesFirstAndAmongEqualsTheOldest) {
  const std::vector<Contender> contenders{{.service = 3, .order = 0, .in_flight = {1}},
                                          {.service = 1, .order = 2, .in_flight = {1}},
                                          {.service = 1, .order = 1, .in_flight = {1}}};
  const auto picks = pick_batch(contenders, {.max_rows = 2});
  ASSERT_EQ(picks.size(), 2U);
  EXPECT_EQ(picks[0].contender, 2U);
  EXPECT_EQ(picks[1].contender, 1U);
}

TEST(SchedulerTest, ServiceFollowsTheWeights) {
  std::vector<Contender> contenders{{.weight = 4, .order = 0, .in_flight = {1}},
                                    {.weight = 1, .order = 1, .in_flight = {1}}};
  std::map<std::size_t, int64_t> got;
  for (int call = 0; call < 100; ++call) {
    for (const Pick& pick : pick_batch(contenders, {.max_rows = 1})) {
      ++got[pick.contender];
      contenders[pick.contender].service += 1 / contenders[pick.contender].weight;
    }
  }
  EXPECT_EQ(got[0], 80);
  EXPECT_EQ(got[1], 20);
}

TEST(SchedulerTest, ImagesThatDoNotFitLeaveTheRestOfABatchToOthers) {
  const std::vector<Contender> contenders{{.order = 0, .in_flight = {2, 2}},
                                          {.service = 1, .order = 1, .in_flight = {1, 1, 1}}};
  const auto rows = rows_of(pick_batch(contenders, {.max_rows = 3}));
  EXPECT_EQ(rows, (std::map<std::size_t, int64_t>{{0, 2}, {1, 1}}));
}

TEST(SchedulerTest, TheLastSlotsAreForRequestsWithNoImageInFlight) {
  std::vector<Contender> contenders{{.order = 0, .in_flight = {1}, .num_waiting = 50},
                                    {.order = 1, .num_waiting = 50}};
  const BatchLimits limits{.max_rows = 64, .free_slots = 3, .reserved_slots = 2};
  auto rows = rows_of(pick_batch(contenders, limits));
  EXPECT_EQ(rows[0], 1) << "the one in flight";
  EXPECT_EQ(rows[1], 1) << "its first image";
  contenders.pop_back();
  rows = rows_of(pick_batch(contenders, limits));
  EXPECT_EQ(rows[0], 1 + 1) << "two slots are kept";
  rows = rows_of(pick_batch(contenders, {.max_rows = 64, .free_slots = 0}));
  EXPECT_EQ(rows[0], 1);
}

TEST(SchedulerTest, SmallBatchesArePaddedAndLargeOnesCutWherePaddingWouldBeWasted) {
  const std::vector<int64_t> sizes{1, 2, 4, 8, 16, 24, 32, 48, 64};
  EXPECT_EQ(cut_to_size(5, sizes), 5);
  EXPECT_EQ(cut_to_size(9, sizes), 8);
  EXPECT_EQ(cut_to_size(13, sizes), 13);
  EXPECT_EQ(cut_to_size(17, sizes), 16);
  EXPECT_EQ(cut_to_size(40, sizes), 40);
  EXPECT_EQ(cut_to_size(64, sizes), 64);
  EXPECT_EQ(cut_to_size(70, sizes), 64);
  EXPECT_EQ(cut_to_size(17, {}), 17);
  EXPECT_EQ(padded_size(5, sizes), 8);
  EXPECT_EQ(padded_size(40, sizes), 48);
  EXPECT_EQ(padded_size(17, {}), 17);
  const std::vector<Contender> contenders{{.in_flight = std::vector<int64_t>(17, 1)}};
  EXPECT_EQ(pick_batch(contenders, {.max_rows = 64, .sizes = sizes}).size(), 16U);
}

TEST(SchedulerTest, LimitsThatLeaveNothingToPickAreRefused) {
  EXPECT_THROW(pick_batch({}, {.max_rows = 0}), std::invalid_argument);
  EXPECT_THROW(pick_batch({{.weight = 0, .in_flight = {1}}}, {}), std::invalid_argument);
  EXPECT_TRUE(pick_batch({}, {}).empty());
}

}  // namespace
}  // namespace ddpm
