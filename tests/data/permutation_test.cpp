#include "ddpm/data/permutation.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <set>
#include <stdexcept>
#include <vector>

namespace ddpm {
namespace {

std::vector<int64_t> epoch_order(uint64_t seed, uint64_t epoch, int64_t n) {
  std::vector<int64_t> order;
  for (int64_t i = 0; i < n; ++i) order.push_back(permuted_index(seed, epoch, i, n));
  return order;
}

bool is_permutation_of_range(const std::vector<int64_t>& order) {
  std::vector<bool> seen(order.size(), false);
  for (const int64_t index : order) {
    if (index < 0 || index >= static_cast<int64_t>(order.size())) return false;
    if (seen[static_cast<size_t>(index)]) return false;
    seen[static_cast<size_t>(index)] = true;
  }
  return true;
}

TEST(PermutationTest, EverySmallSizeIsVisitedExactlyOnce) {
  for (int64_t n = 1; n <= 300; ++n) {
    ASSERT_TRUE(is_permutation_of_range(epoch_order(7, static_cast<uint64_t>(n) % 3, n))) << n;
  }
}

TEST(PermutationTest, LargeSizesAroundPowersOfTwoAreVisitedExactlyOnce) {
  for (const int64_t n : {60'000, 65'535, 65'536, 65'537, 131'073}) {
    EXPECT_TRUE(is_permutation_of_range(epoch_order(1, 2, n))) << n;
  }
}

TEST(PermutationTest, TheLargestSizeStaysInRangeAndIsInjectiveOnAPrefix) {
  constexpr int64_t kHuge = std::numeric_limits<int64_t>::max();
  std::set<int64_t> seen;
  for (int64_t i = 0; i < 1000; ++i) {
    const int64_t index = permuted_index(3, 0, i, kHuge);
    EXPECT_GE(index, 0);
    EXPECT_LT(index, kHuge);
    seen.insert(index);
  }
  EXPECT_EQ(seen.size(), 1000U);
}

TEST(PermutationTest, EpochsAndSeedsHaveOrdersOfTheirOwn) {
  const auto order = epoch_order(5, 0, 1000);
  EXPECT_EQ(order, epoch_order(5, 0, 1000));
  EXPECT_NE(order, epoch_order(5, 1, 1000));
  EXPECT_NE(order, epoch_order(6, 0, 1000));
  EXPECT_NE(order, epoch_order(5, uint64_t{1} << 32, 1000));
  EXPECT_NE(order, epoch_order(5 + (uint64_t{1} << 32), 0, 1000));
}

// 4800 epochs of 4 images: each of the 24 orders is expected 200 times, with a deviation of 13.8.
TEST(PermutationTest, EveryOrderOfFourImagesIsEquallyLikely) {
  std::map<std::vector<int64_t>, int> counts;
  for (uint64_t epoch = 0; epoch < 4800; ++epoch) ++counts[epoch_order(11, epoch, 4)];
  ASSERT_EQ(counts.size(), 24U);
  for (const auto& [order, count] : counts) EXPECT_NEAR(count, 200, 5 * 13.8);
}

// In a random order, the expected number of neighbours that stay neighbours (i + 1 after i) is
// (n - 1) / n an epoch, Poisson distributed: 200 in 200 epochs, with a deviation of 14.1.
TEST(PermutationTest, NeighboursDoNotStayTogether) {
  constexpr int kEpochs = 200;
  int kept = 0;
  for (uint64_t epoch = 0; epoch < kEpochs; ++epoch) {
    const auto order = epoch_order(13, epoch, 500);
    for (size_t i = 1; i < order.size(); ++i) kept += order[i] == order[i - 1] + 1;
  }
  EXPECT_NEAR(kept, kEpochs, 5 * 14.1);
}

TEST(PermutationTest, AnIndexOutsideOfTheSetIsRefused) {
  EXPECT_THROW(permuted_index(0, 0, 5, 5), std::invalid_argument);
  EXPECT_THROW(permuted_index(0, 0, -1, 5), std::invalid_argument);
  EXPECT_THROW(permuted_index(0, 0, 0, 0), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
