#include "ddpm/sampling/timesteps.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "sampling/sampler_cases.h"

namespace ddpm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::kEverySpacing;
using ::testing::ThrowsMessage;

TEST(TimestepsTest, ListsOfTenTimesteps) {
  EXPECT_THAT(make_timesteps(TimestepSpacing::kLeading, 10, 3), ElementsAre(6, 3, 0));
  EXPECT_THAT(make_timesteps(TimestepSpacing::kLinspace, 10, 3), ElementsAre(9, 4, 0));  // 4.5
  EXPECT_THAT(make_timesteps(TimestepSpacing::kTrailing, 10, 3), ElementsAre(9, 6, 2));
  EXPECT_THAT(make_timesteps(TimestepSpacing::kLeading, 10, 1), ElementsAre(0));
  EXPECT_THAT(make_timesteps(TimestepSpacing::kLinspace, 10, 1), ElementsAre(9));
  EXPECT_THAT(make_timesteps(TimestepSpacing::kTrailing, 10, 1), ElementsAre(9));
}

TEST(TimestepsTest, KnownFirstTimestepsOfAThousand) {
  const auto first = [](TimestepSpacing spacing, int64_t n) {
    return make_timesteps(spacing, 1000, n).front();
  };
  EXPECT_EQ(first(TimestepSpacing::kLeading, 50), 980);
  EXPECT_EQ(first(TimestepSpacing::kLeading, 150), 894);
  EXPECT_EQ(first(TimestepSpacing::kLeading, 501), 500);
  EXPECT_EQ(first(TimestepSpacing::kTrailing, 50), 999);
  EXPECT_EQ(make_timesteps(TimestepSpacing::kTrailing, 1000, 50).back(), 19);
  EXPECT_EQ(make_timesteps(TimestepSpacing::kLinspace, 1000, 50).back(), 0);
}

TEST(TimestepsTest, EveryListDescendsStrictlyWithinTheSchedule) {
  for (const int64_t num_timesteps : {1, 2, 7, 64, 300, 1000}) {
    for (const TimestepSpacing spacing : kEverySpacing) {
      for (int64_t n = 1; n <= num_timesteps; ++n) {
        const auto list = make_timesteps(spacing, num_timesteps, n);
        ASSERT_EQ(static_cast<int64_t>(list.size()), n);
        ASSERT_LT(list.front(), num_timesteps);
        ASSERT_GE(list.back(), 0);
        for (size_t i = 1; i < list.size(); ++i) {
          ASSERT_LT(list[i], list[i - 1]) << "T = " << num_timesteps << ", n = " << n;
        }
      }
    }
  }
}

// Each entry is the nearest integer to its formula; where two are equally near, either may be.
TEST(TimestepsTest, EntriesAreNearestToTheirFormulas) {
  for (int64_t n = 2; n <= 1000; n += 7) {
    const auto linspace = make_timesteps(TimestepSpacing::kLinspace, 1000, n);
    const auto trailing = make_timesteps(TimestepSpacing::kTrailing, 1000, n);
    for (int64_t i = 0; i < n; ++i) {
      const auto index = static_cast<size_t>(i);
      const auto at = static_cast<double>(i);
      const auto count = static_cast<double>(n);
      EXPECT_LE(std::abs(static_cast<double>(linspace[index]) - 999 * (1 - at / (count - 1))),
                0.5 + 1e-9);
      EXPECT_LE(std::abs(static_cast<double>(trailing[index]) + 1 - 1000 * (1 - at / count)),
                0.5 + 1e-9);
    }
  }
}

TEST(TimestepsTest, AllTimestepsAreTheSameListInEverySpacing) {
  for (const TimestepSpacing spacing : kEverySpacing) {
    const auto list = make_timesteps(spacing, 300, 300);
    for (int64_t i = 0; i < 300; ++i) EXPECT_EQ(list[static_cast<size_t>(i)], 299 - i);
  }
}

TEST(TimestepsTest, TooManyOrTooFewStepsAreRefused) {
  EXPECT_THAT([] { make_timesteps(TimestepSpacing::kTrailing, 300, 301); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("expected 1 to 300, got 301")));
  EXPECT_THROW(make_timesteps(TimestepSpacing::kLeading, 300, 0), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
