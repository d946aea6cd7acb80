#include "ddpm/evaluation/kernel_distance.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <set>
#include <stdexcept>

namespace ddpm {
namespace {

Tensor normals(int64_t count, int64_t width, uint64_t seed) {
  at::manual_seed(seed);
  return at::randn({count, width}, at::kDouble);
}

double kernel_value(const Tensor& x, const Tensor& y) {
  return std::pow(x.dot(y).item<double>() / static_cast<double>(x.size(0)) + 1, 3);
}

/// The definition, pair by pair.
double direct_distance(const Tensor& x, const Tensor& y) {
  const int64_t n = x.size(0), m = y.size(0);
  double inside_x = 0, inside_y = 0, between = 0;
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < n; ++j) inside_x += i == j ? 0 : kernel_value(x[i], x[j]);
  }
  for (int64_t i = 0; i < m; ++i) {
    for (int64_t j = 0; j < m; ++j) inside_y += i == j ? 0 : kernel_value(y[i], y[j]);
  }
  for (int64_t i = 0; i < n; ++i) {
    for (int64_t j = 0; j < m; ++j) between += kernel_value(x[i], y[j]);
  }
  const auto a = static_cast<double>(n), b = static_cast<double>(m);
  return inside_x / (a * (a - 1)) + inside_y / (b * (b - 1)) - 2 * between / (a * b);
}

TEST(KernelDistanceTest, EqualsTheSumOverPairs) {
  const Tensor x = normals(20, 5, 1), y = 1.5 * normals(20, 5, 2) + 0.3;
  const KernelDistance result = kernel_distance(x, y, {.num_subsets = 1, .subset_size = 20});
  EXPECT_NEAR(result.mean, direct_distance(x, y), 1e-11);
  EXPECT_EQ(result.deviation, 0);
}

// Whole sets as subsets are the same whatever their order.
TEST(KernelDistanceTest, SubsetsAreDrawnWithoutReplacement) {
  const Tensor x = normals(12, 3, 3), y = normals(12, 3, 4) + 1;
  const KernelDistance result = kernel_distance(x, y, {.num_subsets = 5, .subset_size = 12});
  EXPECT_NEAR(result.mean, direct_distance(x, y), 1e-11);
  EXPECT_LT(result.deviation, 1e-11);
}

TEST(KernelDistanceTest, IsUnbiasedForEqualDistributions) {
  const KernelDistance result = kernel_distance(normals(2000, 4, 5), normals(2000, 4, 6),
                                                {.num_subsets = 50, .subset_size = 200});
  EXPECT_GT(result.deviation, 0);
  // Subsets share images, so their mean is known less well than deviation / sqrt(50).
  EXPECT_LT(std::abs(result.mean), result.deviation);
}

TEST(KernelDistanceTest, GrowsWithAShift) {
  const Tensor y = normals(500, 4, 7);
  const KernelDistanceOptions options{.num_subsets = 10, .subset_size = 250};
  const double small = kernel_distance(normals(500, 4, 8) + 0.5, y, options).mean;
  const double large = kernel_distance(normals(500, 4, 8) + 1.0, y, options).mean;
  EXPECT_GT(small, 0.1);
  EXPECT_GT(large, 2 * small);
}

TEST(KernelDistanceTest, TheSeedChoosesTheSubsets) {
  const Tensor x = normals(100, 4, 9), y = normals(80, 4, 10);
  std::set<double> means;
  for (const uint64_t seed : {0, 1, 0}) {
    means.insert(kernel_distance(x, y, {.num_subsets = 2, .subset_size = 20, .seed = seed}).mean);
  }
  EXPECT_EQ(means.size(), 2U);
}

TEST(KernelDistanceTest, RefusesOtherWidthsAndSubsetsThatAreTooLarge) {
  const Tensor x = normals(10, 3, 11);
  EXPECT_THROW(kernel_distance(x, normals(10, 4, 12), {.subset_size = 5}), std::invalid_argument);
  EXPECT_THROW(kernel_distance(x, x, {.subset_size = 11}), std::invalid_argument);
  EXPECT_THROW(kernel_distance(x, x, {.subset_size = 1}), std::invalid_argument);
  EXPECT_THROW(kernel_distance(x, x, {.num_subsets = 0, .subset_size = 5}), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
