#include "ddpm/config/nearest_name.h"

#include <gtest/gtest.h>

namespace ddpm {
namespace {

const std::vector<std::string> kNames{"batch_size", "steps", "seed", "l1", "l2"};

TEST(NearestNameTest, FindsLettersThatAreMissingAddedReplacedOrSwapped) {
  EXPECT_EQ(nearest_name("batchsize", kNames), "batch_size");
  EXPECT_EQ(nearest_name("stepss", kNames), "steps");
  EXPECT_EQ(nearest_name("sead", kNames), "seed");
  EXPECT_EQ(nearest_name("batch_szie", kNames), "batch_size");
  EXPECT_EQ(nearest_name("Batch-Size", kNames), "batch_size");
}

TEST(NearestNameTest, PrefersTheNearerOfTwo) { EXPECT_EQ(nearest_name("l22", kNames), "l2"); }

TEST(NearestNameTest, IsEmptyWhereNothingIsNear) {
  EXPECT_EQ(nearest_name("momentum", kNames), "");
  EXPECT_EQ(nearest_name("", kNames), "");
  EXPECT_EQ(nearest_name(std::string(10'000, 's'), kNames), "");
  EXPECT_EQ(nearest_name("steps", {}), "");
}

TEST(NearestNameTest, SuggestionIsAQuestion) {
  EXPECT_EQ(suggest_name("step", kNames), " (did you mean 'steps'?)");
  EXPECT_EQ(suggest_name("momentum", kNames), "");
}

}  // namespace
}  // namespace ddpm
