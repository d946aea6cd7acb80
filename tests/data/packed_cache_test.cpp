#include "ddpm/data/packed_cache.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <optional>
#include <stdexcept>
#include <thread>
#include <vector>

#include "data/scratch_folder.h"

namespace ddpm {
namespace {

using ::testing::ElementsAre;
using testing::ScratchFolder;
using testing::write_bytes;

namespace fs = std::filesystem;

ImageSet sample_set() {
  return {.images =
              at::arange(5 * 3 * 4 * 4, at::kLong).remainder(251).to(at::kByte).view({5, 3, 4, 4}),
          .labels = at::tensor({0, 1, 1, 0, 1}, at::kLong),
          .class_names = {"cat", "dog"},
          .name = "pets",
          .skipped = {"x.png: damaged"}};
}

/// In two parts, to see that they are joined.
ImageSet fill_with_sample(PackedCacheWriter& writer) {
  const ImageSet set = sample_set();
  writer.append(set.images.narrow(0, 0, 2), set.labels.narrow(0, 0, 2));
  writer.append(set.images.narrow(0, 2, 0), set.labels.narrow(0, 2, 0));
  writer.append(set.images.narrow(0, 2, 3), set.labels.narrow(0, 2, 3));
  return set;
}

void write_sample(const fs::path& path) {
  PackedCacheWriter writer(path);
  writer.finish("key", fill_with_sample(writer));
}

void expect_sample(const ImageSet& got) {
  const ImageSet expected = sample_set();
  EXPECT_TRUE(got.images.equal(expected.images));
  EXPECT_TRUE(got.labels.equal(expected.labels));
  EXPECT_EQ(got.class_names, expected.class_names);
  EXPECT_EQ(got.name, expected.name);
  EXPECT_EQ(got.skipped, expected.skipped);
}

std::vector<std::string> names_in(const std::string& folder) {
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(folder)) {
    names.push_back(entry.path().filename().string());
  }
  return names;
}

TEST(PackedCacheTest, GivesBackWhatWasWritten) {
  const ScratchFolder folder;
  write_sample(folder / "set.pack");
  const auto set = read_packed_cache(folder / "set.pack", "key");
  ASSERT_TRUE(set.has_value());
  expect_sample(*set);
  EXPECT_EQ(reinterpret_cast<uintptr_t>(set->images.data_ptr()) % 4096, 0U);
}

TEST(PackedCacheTest, ImagesStayMappedWhileATensorUsesThem) {
  const ScratchFolder folder;
  write_sample(folder / "set.pack");
  auto set = read_packed_cache(folder / "set.pack", "key");
  ASSERT_TRUE(set.has_value());
  const Tensor last = set->images[4];
  set.reset();
  fs::remove(folder / "set.pack");
  EXPECT_TRUE(last.equal(sample_set().images[4]));
}

TEST(PackedCacheTest, AbsentAndStaleFilesGiveNothing) {
  const ScratchFolder folder;
  EXPECT_FALSE(read_packed_cache(folder / "set.pack", "key").has_value());
  write_sample(folder / "set.pack");
  EXPECT_FALSE(read_packed_cache(folder / "set.pack", "other key").has_value());
}

TEST(PackedCacheTest, EveryTruncationGivesNothing) {
  const ScratchFolder folder;
  write_sample(folder / "set.pack");
  const auto whole = read_binary_file(folder / "set.pack");
  for (size_t size = 0; size < whole.size(); size += size < 4090 ? 97 : 1) {
    write_bytes(folder / "short.pack", {whole.begin(), whole.begin() + static_cast<int>(size)});
    ASSERT_FALSE(read_packed_cache(folder / "short.pack", "key").has_value()) << size;
  }
}

TEST(PackedCacheTest, EveryDamagedByteGivesNothing) {
  const ScratchFolder folder;
  write_sample(folder / "set.pack");
  const auto whole = read_binary_file(folder / "set.pack");
  const size_t labels_end = 4096 + 240 + 40;  // behind them, up to the JSON, is no gap
  ASSERT_EQ(labels_end % 8, 0U);
  for (size_t at = 0; at < whole.size(); at += at < 4090 ? 5 : 1) {
    auto damaged = whole;
    damaged[at] ^= 0x10;
    write_bytes(folder / "damaged.pack", damaged);
    ASSERT_FALSE(read_packed_cache(folder / "damaged.pack", "key").has_value()) << at;
  }
}

TEST(PackedCacheTest, AnUnfinishedWriterLeavesNothingBehind) {
  const ScratchFolder folder;
  {
    PackedCacheWriter writer(folder / "set.pack");
    fill_with_sample(writer);
  }
  EXPECT_TRUE(names_in(folder.string()).empty());
}

TEST(PackedCacheTest, FillsOnceThenReads) {
  const ScratchFolder folder;
  int fills = 0;
  const auto load = [&](const std::string& key) {
    return load_through_packed_cache(folder / "sub/set.pack", key, [&](PackedCacheWriter& writer) {
      ++fills;
      return fill_with_sample(writer);
    });
  };
  expect_sample(load("a"));
  expect_sample(load("a"));
  EXPECT_EQ(fills, 1);
  expect_sample(load("b"));
  EXPECT_EQ(fills, 2);
  write_bytes(folder / "sub/set.pack", {1, 2, 3});
  expect_sample(load("b"));
  EXPECT_EQ(fills, 3);
  EXPECT_THAT(names_in((folder / "sub").string()),
              ::testing::UnorderedElementsAre("set.pack", "set.pack.lock"));
}

TEST(PackedCacheTest, LoadersAtTheSameTimeFillOnce) {
  const ScratchFolder folder;
  std::atomic<int> fills{0};
  std::vector<std::thread> threads;
  for (int i = 0; i < 6; ++i) {
    threads.emplace_back([&] {
      expect_sample(
          load_through_packed_cache(folder / "set.pack", "key", [&](PackedCacheWriter& writer) {
            ++fills;
            return fill_with_sample(writer);
          }));
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(fills, 1);
}

TEST(PackedCacheTest, AFailedFillLeavesNoCacheAndTheLockFree) {
  const ScratchFolder folder;
  const auto fail = [](PackedCacheWriter& writer) -> ImageSet {
    fill_with_sample(writer);
    throw std::runtime_error("damaged");
  };
  EXPECT_THROW(load_through_packed_cache(folder / "set.pack", "key", fail), std::runtime_error);
  EXPECT_THAT(names_in(folder.string()), ElementsAre("set.pack.lock"));
  expect_sample(load_through_packed_cache(folder / "set.pack", "key", fill_with_sample));
}

TEST(PackedCacheTest, ImagesOfAnotherShapeAreRefused) {
  const ScratchFolder folder;
  PackedCacheWriter writer(folder / "set.pack");
  const ImageSet set = fill_with_sample(writer);
  EXPECT_THROW(writer.append(at::zeros({1, 3, 4, 5}, at::kByte), at::zeros({1}, at::kLong)),
               std::invalid_argument);
  EXPECT_THROW(writer.append(set.images.to(at::kFloat), set.labels), std::invalid_argument);
  EXPECT_THROW(writer.append(set.images, set.labels.narrow(0, 0, 4)), std::invalid_argument);
}

TEST(PackedCacheTest, AFolderThatCannotBeMadeIsNamed) {
  const ScratchFolder folder;
  write_bytes(folder / "file", {});
  EXPECT_THAT(testing::message_of<std::runtime_error>([&] {
                load_through_packed_cache(folder / "file/set.pack", "key", fill_with_sample);
              }),
              ::testing::HasSubstr("data.cache_dir"));
}

}  // namespace
}  // namespace ddpm
