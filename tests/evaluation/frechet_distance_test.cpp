#include "ddpm/evaluation/frechet_distance.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <filesystem>
#include <limits>
#include <stdexcept>

#include "ddpm/checkpoint/safetensors.h"
#include "support/run_python.h"

namespace ddpm {
namespace {

Tensor mixed_normals(int64_t count, int64_t width, uint64_t seed) {
  at::manual_seed(seed);
  const Tensor mixing = at::randn({width, width}, at::kDouble);
  return at::randn({count, width}, at::kDouble).mm(mixing);
}

FeatureMoments moments_of_set(const Tensor& features) {
  FeatureStatistics statistics;
  statistics.add(features);
  return statistics.moments();
}

FeatureMoments diagonal(const Tensor& mean, const Tensor& variance) {
  return {.count = 1000, .mean = mean, .covariance = at::diag(variance)};
}

// Of independent numbers: sum of (mu_1 - mu_2)^2 + (sigma_1 - sigma_2)^2.
TEST(FrechetDistanceTest, HasTheClosedFormOfDiagonalGaussians) {
  const auto row = [](std::initializer_list<double> values) {
    return at::tensor(std::vector<double>(values), at::kDouble);
  };
  const FrechetDistance result = frechet_distance(diagonal(row({0, 1, -2}), row({1, 4, 0.25})),
                                                  diagonal(row({1, 1, 0}), row({9, 4, 0})));
  EXPECT_NEAR(result.mean_term, 1 + 0 + 4, 1e-12);
  EXPECT_NEAR(result.covariance_term, 4 + 0 + 0.25, 1e-12);
  EXPECT_NEAR(result.distance, 9.25, 1e-12);
  EXPECT_FALSE(result.rank_deficient);
}

// The smallest eigenvalues of S^2 are rounded by epsilon * |S|^2, and their roots by sqrt(epsilon)
// * |S|.
TEST(FrechetDistanceTest, OfASetToItselfIsZero) {
  const FeatureMoments moments = moments_of_set(mixed_normals(500, 32, 1));
  const double scale = moments.covariance.trace().item<double>();
  EXPECT_NEAR(frechet_distance(moments, moments).distance, 0, 1e-8 * scale);
}

TEST(FrechetDistanceTest, AShiftCostsItsSquareAndNothingElse) {
  const Tensor features = mixed_normals(200, 6, 2);
  const FrechetDistance result =
      frechet_distance(moments_of_set(features + 0.5), moments_of_set(features));
  EXPECT_NEAR(result.distance, 6 * 0.25, 1e-10);
  EXPECT_NEAR(result.covariance_term, 0, 1e-10);
}

// S and c^2 S: tr S (1 - c)^2.
TEST(FrechetDistanceTest, AScaleCostsTheTraceTimesItsSquareDifference) {
  const Tensor features = mixed_normals(300, 5, 3);
  const Tensor centred = features - features.mean(0);
  const double trace = at::cov(features.t()).trace().item<double>();
  const FrechetDistance result =
      frechet_distance(moments_of_set(3 * centred), moments_of_set(centred));
  EXPECT_NEAR(result.distance, 4 * trace, 1e-9 * trace);
}

TEST(FrechetDistanceTest, IsSymmetric) {
  const FeatureMoments a = moments_of_set(mixed_normals(100, 8, 4));
  const FeatureMoments b = moments_of_set(mixed_normals(90, 8, 5));
  EXPECT_NEAR(frechet_distance(a, b).distance, frechet_distance(b, a).distance, 1e-9);
}

TEST(FrechetDistanceTest, EqualsTheSingularValuesOfTheFeaturesOwnFactors) {
  const Tensor a = mixed_normals(400, 24, 6), b = mixed_normals(300, 24, 7) + 0.1;
  const std::string path = ::testing::TempDir() + "/frechet.safetensors";
  write_safetensors(path, {{"a", a}, {"b", b}});
  const double distance = frechet_distance(moments_of_set(a), moments_of_set(b)).distance;
  char text[64];
  std::snprintf(text, sizeof text, "%.17g", distance);
  testing::run_python(
      {DDPM_SOURCE_DIR "/tests/evaluation/frechet_distance_reference.py", path, text});
  std::filesystem::remove(path);
}

TEST(FrechetDistanceTest, FewerImagesThanFeaturesAreNamedAndStayFinite) {
  const Tensor features = mixed_normals(40, 16, 8);
  const FeatureMoments all = moments_of_set(features);
  const FeatureMoments few = moments_of_set(features.slice(0, 0, 10));
  const FrechetDistance result = frechet_distance(few, all);
  EXPECT_TRUE(result.rank_deficient);
  EXPECT_GT(result.distance, 0);
  EXPECT_NEAR(frechet_distance(few, few).distance, 0, 1e-5);  // roots of rounding, 1e-16
  EXPECT_FALSE(frechet_distance(all, all).rank_deficient);
}

TEST(FrechetDistanceTest, RefusesOtherWidthsAndNumbersThatAreNotFinite) {
  const FeatureMoments moments = moments_of_set(mixed_normals(10, 3, 9));
  const FeatureMoments wider = moments_of_set(mixed_normals(10, 4, 9));
  EXPECT_THROW(frechet_distance(moments, wider), std::invalid_argument);
  FeatureMoments broken = moments;
  broken.mean = at::full({3}, std::numeric_limits<double>::quiet_NaN(), at::kDouble);
  EXPECT_THROW(frechet_distance(broken, moments), std::invalid_argument);
  EXPECT_THROW(frechet_distance(moments, broken), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
