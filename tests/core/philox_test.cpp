#include "ddpm/core/philox.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>

#include "ddpm/core/sha256.h"

namespace ddpm {
namespace {

using Words = std::array<uint32_t, 4>;

constexpr RandomKey kKey{.seed = 42, .stream = RandomStream::kTest};

TEST(PhiloxTest, MatchesRandom123KnownAnswers) {  // its kat_vectors, philox4x32 10
  EXPECT_EQ(philox4x32_10({0, 0, 0, 0}, {0, 0}),
            (Words{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8}));
  EXPECT_EQ(
      philox4x32_10({0xffffffff, 0xffffffff, 0xffffffff, 0xffffffff}, {0xffffffff, 0xffffffff}),
      (Words{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd}));
  EXPECT_EQ(
      philox4x32_10({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}),
      (Words{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1}));
}

/// The documented block, computed from the documented formula.
Words documented_block(RandomKey key, uint64_t image, uint32_t step, uint32_t block) {
  const Words derived =
      philox4x32_10({static_cast<uint32_t>(key.stream), 0, 0, 0},
                    {static_cast<uint32_t>(key.seed), static_cast<uint32_t>(key.seed >> 32)});
  return philox4x32_10(
      {block, step, static_cast<uint32_t>(image), static_cast<uint32_t>(image >> 32)},
      {derived[0], derived[1]});
}

TEST(PhiloxTest, DrawsFollowTheDocumentedFormulas) {
  constexpr RandomKey kWide{.seed = 0x123456789abcdef0, .stream = RandomStream::kTrainNoise};
  constexpr uint64_t kImage = 0xfedcba9876543210;
  std::array<float, 10> uniform{};
  std::array<float, 10> normal{};
  fill_uniform(kWide, kImage, 7, uniform.data(), 10);
  fill_normal(kWide, kImage, 7, normal.data(), 10);
  for (uint32_t i = 0; i < 10; ++i) {
    const Words words = documented_block(kWide, kImage, 7, i / 4);
    EXPECT_EQ(uniform[i], static_cast<float>(words[i % 4] >> 8) / 16777216.0F);
    const size_t pair = i % 4 / 2 * 2;
    const double radius = std::sqrt(-2 * std::log((words[pair] + 0.5) / 4294967296.0));
    const double angle = 2 * M_PI * words[pair + 1] / 4294967296.0;
    EXPECT_NEAR(normal[i], radius * (i % 2 == 0 ? std::cos(angle) : std::sin(angle)), 2e-6);
  }
  const Words first = documented_block(kWide, kImage, 7, 0);
  EXPECT_EQ(random_bits(kWide, kImage, 7), uint64_t{first[1]} << 32 | first[0]);
}

TEST(PhiloxTest, TheBitsOfTheDrawsNeverChange) {  // runs that were saved draw on from here
  const Tensor draws = normal_like_images(kKey, {0, 1, 2, 3}, 5, {10'000});
  const auto size = static_cast<size_t>(draws.nbytes());
  EXPECT_EQ(sha256_hex({static_cast<const uint8_t*>(draws.const_data_ptr()), size}),
            "dfe777c029098e8a8aa510b784877ae228c4f4aa54b9936a91e2e7a234ba6604");
}

TEST(PhiloxTest, AnImagesDrawsDoNotDependOnTheBatch) {
  std::vector<uint64_t> images(64);
  for (size_t i = 0; i < images.size(); ++i) images[i] = 1000 + i;
  const Tensor batch = normal_like_images(kKey, images, 3, {3, 5, 7});
  EXPECT_EQ(batch.sizes(), at::IntArrayRef({64, 3, 5, 7}));
  EXPECT_TRUE(batch.is_contiguous());
  for (const int64_t i : {0, 1, 31, 63}) {
    const Tensor alone = normal_like_images(kKey, {1000 + static_cast<uint64_t>(i)}, 3, {3, 5, 7});
    EXPECT_TRUE(alone[0].equal(batch[i]));
  }
  const Tensor uniform = uniform_like_images(kKey, images, 3, {105});
  EXPECT_TRUE(uniform_like_images(kKey, {1063}, 3, {105})[0].equal(uniform[63]));
}

TEST(PhiloxTest, AShorterDrawIsAPrefixOfALonger) {
  const Tensor longer = normal_like_images(kKey, {5}, 0, {1001});
  for (const int64_t n : {1, 2, 3, 4, 5, 1000}) {
    EXPECT_TRUE(normal_like_images(kKey, {5}, 0, {n})[0].equal(longer[0].narrow(0, 0, n)));
  }
}

TEST(PhiloxTest, SeedStreamImageAndStepEachChangeTheDraws) {
  std::set<uint64_t> seen;
  size_t count = 0;
  for (const uint64_t seed : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32}) {
    for (const RandomStream stream : {RandomStream::kWeights, RandomStream::kStepNoise}) {
      for (const uint64_t image : {uint64_t{0}, uint64_t{1}, uint64_t{1} << 32}) {
        for (const uint32_t step : {0U, 1U}) {
          seen.insert(random_bits({.seed = seed, .stream = stream}, image, step));
          ++count;
        }
      }
    }
  }
  EXPECT_EQ(seen.size(), count);
}

/// Largest distance between the draws' distribution function and `cdf` [Kolmogorov-Smirnov].
template <typename Cdf>
double ks_distance(const Tensor& draws, Cdf cdf) {
  const Tensor sorted = std::get<0>(draws.flatten().sort());
  const float* const values = sorted.const_data_ptr<float>();
  const auto n = static_cast<double>(sorted.numel());
  double largest = 0;
  for (int64_t i = 0; i < sorted.numel(); ++i) {
    const double expected = cdf(static_cast<double>(values[i]));
    largest = std::max({largest, std::abs(expected - static_cast<double>(i) / n),
                        std::abs(expected - static_cast<double>(i + 1) / n)});
  }
  return largest;
}

TEST(PhiloxTest, NormalDrawsAreStandardNormal) {
  const Tensor draws = normal_like_images(kKey, {0, 1, 2, 3}, 0, {100'000});
  const auto n = static_cast<double>(draws.numel());
  const Tensor x = draws.to(at::kDouble);
  EXPECT_NEAR(x.mean().item<double>(), 0, 4 / std::sqrt(n));
  EXPECT_NEAR(x.square().mean().item<double>(), 1, 4 * std::sqrt(2 / n));
  EXPECT_NEAR(x.pow(3).mean().item<double>(), 0, 4 * std::sqrt(15 / n));
  EXPECT_NEAR(x.pow(4).mean().item<double>(), 3, 4 * std::sqrt(96 / n));
  EXPECT_LT(x.abs().max().item<double>(), 6.8);
  const auto cdf = [](double value) { return 0.5 * std::erfc(-value / std::sqrt(2.0)); };
  EXPECT_LT(ks_distance(draws, cdf), 1.95 / std::sqrt(n));  // 0.1% level
}

TEST(PhiloxTest, NeighboursAreUncorrelated) {
  const Tensor draws = normal_like_images(kKey, {0, 1}, 0, {200'000}).to(at::kDouble);
  const double bound = 4 / std::sqrt(200'000.0);
  EXPECT_NEAR((draws[0] * draws[1]).mean().item<double>(), 0, bound);
  for (const int64_t lag : {1, 2, 4}) {
    const int64_t rest = 200'000 - lag;
    const Tensor product = draws[0].narrow(0, 0, rest) * draws[0].narrow(0, lag, rest);
    EXPECT_NEAR(product.mean().item<double>(), 0, bound) << "lag " << lag;
  }
}

TEST(PhiloxTest, UniformDrawsFillTheHalfOpenUnitInterval) {
  const Tensor draws = uniform_like_images(kKey, {0, 1}, 0, {200'000});
  EXPECT_GE(draws.min().item<double>(), 0.0);
  EXPECT_LT(draws.max().item<double>(), 1.0);
  EXPECT_LT(ks_distance(draws, [](double value) { return value; }), 1.95 / std::sqrt(400'000.0));
}

TEST(PhiloxTest, RandomBelowIsUniform) {
  constexpr int64_t kBins = 7;
  constexpr int64_t kDraws = 70'000;
  std::array<int64_t, kBins> counts{};
  for (uint64_t image = 0; image < kDraws; ++image) {
    ++counts.at(static_cast<size_t>(random_below(kKey, image, 0, kBins)));
  }
  double chi_square = 0;
  constexpr double kExpected = static_cast<double>(kDraws) / kBins;
  for (const int64_t count : counts) {
    chi_square += std::pow(static_cast<double>(count) - kExpected, 2) / kExpected;
  }
  EXPECT_LT(chi_square, 22.5);  // 6 degrees of freedom, 0.1% level
}

TEST(PhiloxTest, RandomBelowIsTheHighPartOfTheProduct) {
  for (const int64_t n : {int64_t{1}, int64_t{1000}, int64_t{1} << 32}) {
    for (uint64_t image = 0; image < 1000; ++image) {
      const auto bits = static_cast<long double>(random_bits(kKey, image, 0));
      const auto expected =
          static_cast<int64_t>(std::ldexp(bits * static_cast<long double>(n), -64));
      ASSERT_EQ(random_below(kKey, image, 0, n), expected);
    }
  }
  EXPECT_THROW(random_below(kKey, 0, 0, 0), std::invalid_argument);
  EXPECT_THROW(random_below(kKey, 0, 0, (int64_t{1} << 32) + 1), std::invalid_argument);
}

TEST(PhiloxTest, EmptyBatchesGiveEmptyTensors) {
  EXPECT_EQ(normal_like_images(kKey, {}, 0, {3, 4}).sizes(), at::IntArrayRef({0, 3, 4}));
  EXPECT_EQ(normal_like_images(kKey, {1, 2}, 0, {0}).sizes(), at::IntArrayRef({2, 0}));
}

}  // namespace
}  // namespace ddpm
