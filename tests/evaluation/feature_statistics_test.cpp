#include "ddpm/evaluation/feature_statistics.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

Tensor features_of(int64_t count, int64_t width, double offset = 0) {
  at::manual_seed(1);
  const Tensor mixing = at::randn({width, width}, at::kDouble);
  return at::randn({count, width}, at::kDouble).mm(mixing) + offset;
}

FeatureMoments moments_of(const Tensor& features, int64_t batch_size) {
  FeatureStatistics statistics;
  for (const Tensor& batch : features.split(batch_size)) statistics.add(batch);
  return statistics.moments();
}

TEST(FeatureStatisticsTest, EqualsMeanAndCovarianceOfAllTogether) {
  const Tensor features = features_of(101, 7);
  for (const int64_t batch_size : {1, 10, 101}) {
    const FeatureMoments moments = moments_of(features, batch_size);
    EXPECT_EQ(moments.count, 101);
    EXPECT_TRUE(tensors_near(moments.mean, features.mean(0), 1e-13));
    EXPECT_TRUE(tensors_near(moments.covariance, at::cov(features.t()), 1e-12));
  }
}

TEST(FeatureStatisticsTest, TheOrderOfBatchesChangesRoundingAlone) {
  const Tensor features = features_of(60, 5);
  const FeatureMoments forwards = moments_of(features, 7);
  const FeatureMoments backwards = moments_of(features.flip(0), 13);
  EXPECT_TRUE(tensors_near(forwards.mean, backwards.mean, 1e-13));
  EXPECT_TRUE(tensors_near(forwards.covariance, backwards.covariance, 1e-12));
}

// The mean of squares minus the square of the mean would keep 16 - 2 * 8 digits: none.
TEST(FeatureStatisticsTest, ALargeOffsetLosesNothing) {
  const Tensor features = features_of(64, 3);
  const Tensor covariance = moments_of(features + 1e8, 8).covariance;
  EXPECT_TRUE(tensors_near(covariance, at::cov(features.t()), 1e-6));
}

TEST(FeatureStatisticsTest, Float32FeaturesAreGatheredInFloat64) {
  const Tensor features = features_of(50, 4).to(at::kFloat);
  const FeatureMoments moments = moments_of(features, 6);
  EXPECT_EQ(moments.mean.scalar_type(), at::kDouble);
  EXPECT_TRUE(tensors_near(moments.covariance, at::cov(features.to(at::kDouble).t()), 1e-12));
}

TEST(FeatureStatisticsTest, RefusesOtherShapesAndTooFewVectors) {
  FeatureStatistics statistics;
  EXPECT_THROW(statistics.moments(), std::invalid_argument);
  statistics.add(at::zeros({1, 4}));
  EXPECT_THROW(statistics.moments(), std::invalid_argument);
  EXPECT_THROW(statistics.add(at::zeros({1, 5})), std::invalid_argument);
  EXPECT_THROW(statistics.add(at::zeros({4})), std::invalid_argument);
  EXPECT_THROW(statistics.add(at::zeros({0, 4})), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
