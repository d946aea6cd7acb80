#include "ddpm/data/batch_loader.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <limits>
#include <stdexcept>
#include <thread>
#include <vector>

#include "ddpm/data/permutation.h"

namespace ddpm {
namespace {

constexpr uint64_t kSeed = 42;

/// Image i is filled with i and has label 100 + i.
ImageSet numbered_set(int64_t count) {
  const Tensor numbers = at::arange(count, at::kLong);
  return {.images = numbers.to(at::kByte).view({count, 1, 1, 1}).expand({count, 3, 2, 2}).clone(),
          .labels = numbers + 100,
          .name = "numbered"};
}

struct Sample {
  int64_t index;
  bool flip;
  bool operator==(const Sample&) const = default;
};

/// Appends the batch's samples, after checking that each is one whole image with its label.
void append_samples(const Batch& batch, std::vector<Sample>& samples) {
  for (int64_t i = 0; i < batch.labels.size(0); ++i) {
    const int64_t index = batch.labels[i].item<int64_t>() - 100;
    EXPECT_TRUE(batch.images[i].eq(index).all().item<bool>());
    samples.push_back({index, batch.flip[i].item<bool>()});
  }
}

std::vector<Sample> read_samples(BatchLoader& loader, int64_t batches) {
  std::vector<Sample> samples;
  for (int64_t i = 0; i < batches; ++i) append_samples(loader.next(), samples);
  return samples;
}

TEST(BatchLoaderTest, EachEpochVisitsEveryImageOnceInThePermutedOrder) {
  BatchLoader loader(numbered_set(10), 4, kSeed, false, 2, 0);
  const auto samples = read_samples(loader, 15);  // 60 samples are 6 epochs
  for (size_t k = 0; k < samples.size(); ++k) {
    EXPECT_EQ(samples[k].index, permuted_index(kSeed, k / 10, static_cast<int64_t>(k % 10), 10));
    EXPECT_FALSE(samples[k].flip);
  }
}

TEST(BatchLoaderTest, StartingAtAnyBatchContinuesTheUninterruptedSequence) {
  const ImageSet set = numbered_set(7);
  constexpr int64_t kBatches = 12, kBatchSize = 3;
  BatchLoader uninterrupted(set, kBatchSize, kSeed, true, 3, 0);
  const auto all = read_samples(uninterrupted, kBatches);
  for (int64_t first = 0; first < kBatches; ++first) {
    BatchLoader resumed(set, kBatchSize, kSeed, true, 1 + first % 4, first);
    const auto rest = read_samples(resumed, kBatches - first);
    EXPECT_EQ(rest, std::vector<Sample>(all.begin() + first * kBatchSize, all.end())) << first;
  }
}

TEST(BatchLoaderTest, ABatchLargerThanTheSetSpansEpochs) {
  BatchLoader loader(numbered_set(3), 8, kSeed, false, 1, 0);
  const Batch first = loader.next();
  const Batch second = loader.next();
  EXPECT_EQ(first.images.sizes(), at::IntArrayRef({8, 3, 2, 2}));
  EXPECT_EQ(first.first_sample, 0);
  EXPECT_EQ(second.first_sample, 8);
  std::vector<Sample> samples;
  append_samples(first, samples);
  append_samples(second, samples);
  for (size_t epoch = 0; epoch < 5; ++epoch) {
    std::vector<int64_t> seen;
    for (size_t i = 0; i < 3; ++i) seen.push_back(samples[3 * epoch + i].index);
    EXPECT_THAT(seen, ::testing::UnorderedElementsAre(0, 1, 2));
  }
}

// 4000 fair draws have a mean of 2000 and a deviation of 31.6.
TEST(BatchLoaderTest, HalfOfTheSamplesAreFlippedAndAnImageDiffersBetweenEpochs) {
  BatchLoader loader(numbered_set(4), 100, kSeed, true, 4, 0);
  const auto samples = read_samples(loader, 40);
  int flips = 0, of_image_zero = 0;
  for (const Sample& sample : samples) {
    flips += sample.flip;
    of_image_zero += sample.flip && sample.index == 0;
  }
  EXPECT_NEAR(flips, 2000, 5 * 31.6);
  EXPECT_NEAR(of_image_zero, 500, 5 * 15.8);
}

TEST(BatchLoaderTest, FlipsDependOnTheSampleNotOnTheBatchSize) {
  const ImageSet set = numbered_set(6);
  BatchLoader small(set, 2, kSeed, true, 1, 0), large(set, 12, kSeed, true, 1, 0);
  EXPECT_EQ(read_samples(small, 12), read_samples(large, 2));
}

TEST(BatchLoaderTest, BatchesDoNotShareMemoryWithOneAnother) {
  BatchLoader loader(numbered_set(5), 5, kSeed, false, 2, 0);
  Batch first = loader.next();
  first.images.fill_(255);
  std::vector<Sample> samples;
  append_samples(loader.next(), samples);
  EXPECT_EQ(samples.size(), 5U);
}

// The last batch below 2^63 samples is served; the one after it does not exist.
TEST(BatchLoaderTest, AnErrorInTheThreadArrivesAfterTheBatchesBeforeIt) {
  constexpr int64_t kLast = std::numeric_limits<int64_t>::max() / 4 - 1;
  BatchLoader loader(numbered_set(3), 4, kSeed, false, 4, kLast - 1);
  EXPECT_EQ(loader.next().first_sample, 4 * (kLast - 1));
  EXPECT_EQ(loader.next().first_sample, 4 * kLast);
  EXPECT_THROW(loader.next(), std::runtime_error);
  EXPECT_THROW(loader.next(), std::runtime_error);
}

TEST(BatchLoaderTest, StopsCleanlyWhateverItIsDoing) {
  const ImageSet set = numbered_set(50);
  for (int i = 0; i < 50; ++i) {
    BatchLoader loader(set, 16, kSeed, true, 1 + i % 3, i);
    for (int n = 0; n < i % 4; ++n) loader.next();
  }
}

TEST(BatchLoaderTest, PreparedBatchesAreNotWaitedFor) {
  BatchLoader loader(numbered_set(8), 4, kSeed, false, 4, 0);
  EXPECT_EQ(loader.waited_seconds(), 0);
  loader.next();
  const double waited_for_first = loader.waited_seconds();
  EXPECT_LT(waited_for_first, 5);
  std::this_thread::sleep_for(std::chrono::milliseconds(200));
  for (int i = 0; i < 3; ++i) loader.next();
  EXPECT_EQ(loader.waited_seconds(), waited_for_first);
}

TEST(BatchLoaderTest, TheSetMayGoAwayBeforeTheLoader) {
  auto set = std::make_unique<ImageSet>(numbered_set(4));
  BatchLoader loader(*set, 4, kSeed, false, 1, 0);
  set.reset();
  EXPECT_EQ(read_samples(loader, 3).size(), 12U);
}

TEST(BatchLoaderTest, BadArgumentsAreRefused) {
  const ImageSet set = numbered_set(4);
  EXPECT_THROW(BatchLoader(set, 0, 0, false, 1, 0), std::invalid_argument);
  EXPECT_THROW(BatchLoader(set, 1, 0, false, 0, 0), std::invalid_argument);
  EXPECT_THROW(BatchLoader(set, 1, 0, false, 1, -1), std::invalid_argument);
  EXPECT_THROW(BatchLoader(numbered_set(0), 1, 0, false, 1, 0), std::invalid_argument);
  ImageSet wrong = numbered_set(4);
  wrong.images = wrong.images.to(at::kFloat);
  EXPECT_THROW(BatchLoader(wrong, 1, 0, false, 1, 0), std::invalid_argument);
  wrong = numbered_set(4);
  wrong.labels = wrong.labels.narrow(0, 0, 3);
  EXPECT_THROW(BatchLoader(wrong, 1, 0, false, 1, 0), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
