#include "ddpm/data/cifar.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <stdexcept>
#include <vector>

#include "data/scratch_folder.h"

namespace ddpm {
namespace {

using testing::config_for;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;
using testing::ScratchFolder;
using ::testing::SizeIs;
using testing::write_bytes;
using testing::write_text;

namespace fs = std::filesystem;
using Bytes = std::vector<uint8_t>;

constexpr size_t kPlane = 32 * 32;

/// One record: the label bytes, then red, green and blue planes of one value each.
void append_record(Bytes& bytes, const Bytes& labels, uint8_t red) {
  bytes.insert(bytes.end(), labels.begin(), labels.end());
  for (int c = 0; c < 3; ++c) bytes.insert(bytes.end(), kPlane, static_cast<uint8_t>(red + c));
}

/// Batch b (1 to 5) holds two records: labels b and 9, red 10 b and 10 b + 5.
void write_cifar10(const ScratchFolder& folder) {
  for (int b = 1; b <= 5; ++b) {
    Bytes bytes;
    append_record(bytes, {static_cast<uint8_t>(b)}, static_cast<uint8_t>(10 * b));
    append_record(bytes, {9}, static_cast<uint8_t>(10 * b + 5));
    write_bytes(folder / ("data_batch_" + std::to_string(b) + ".bin"), bytes);
  }
}

TEST(CifarTest, TheFiveBatchesFollowOneAnother) {
  const ScratchFolder folder;
  write_cifar10(folder);
  const ImageSet set = load_cifar10(config_for(folder.string()));
  ASSERT_EQ(set.images.sizes(), at::IntArrayRef({10, 3, 32, 32}));
  for (int64_t b = 1; b <= 5; ++b) {
    EXPECT_EQ(set.labels[2 * b - 2].item<int64_t>(), b);
    EXPECT_EQ(set.labels[2 * b - 1].item<int64_t>(), 9);
    for (int64_t c = 0; c < 3; ++c) {
      EXPECT_TRUE(set.images[2 * b - 2][c].eq(10 * b + c).all().item<bool>());
      EXPECT_TRUE(set.images[2 * b - 1][c].eq(10 * b + 5 + c).all().item<bool>());
    }
  }
  EXPECT_THAT(set.class_names, ElementsAre("airplane", "automobile", "bird", "cat", "deer", "dog",
                                           "frog", "horse", "ship", "truck"));
}

TEST(CifarTest, ClassNamesComeFromTheFileBeside) {
  const ScratchFolder folder;
  write_cifar10(folder);
  write_text(folder / "batches.meta.txt", "a\nb\nc\nd\ne\nf\ng\nh\ni\r\nj\n\n");
  EXPECT_THAT(load_cifar10(config_for(folder.string())).class_names,
              ElementsAre("a", "b", "c", "d", "e", "f", "g", "h", "i", "j"));
  write_text(folder / "batches.meta.txt", "a\nb\n");
  EXPECT_THAT(message_of<std::runtime_error>([&] { load_cifar10(config_for(folder.string())); }),
              HasSubstr("expected 10, got 2"));
}

TEST(CifarTest, Cifar100HasFineLabels) {
  const ScratchFolder folder;
  Bytes bytes;
  append_record(bytes, {19, 99}, 1);
  append_record(bytes, {3, 0}, 7);
  write_bytes(folder / "train.bin", bytes);
  const ImageSet set = load_cifar100(config_for(folder.string()));
  EXPECT_EQ(set.labels[0].item<int64_t>(), 99);
  EXPECT_EQ(set.labels[1].item<int64_t>(), 0);
  EXPECT_TRUE(set.images[1][2].eq(9).all().item<bool>());
  ASSERT_THAT(set.class_names, SizeIs(100));
  EXPECT_EQ(set.class_names[99], "99");
  std::string names;
  for (int i = 0; i < 100; ++i) names += "kind_" + std::to_string(i) + "\n";
  write_text(folder / "fine_label_names.txt", names);
  EXPECT_EQ(load_cifar100(config_for(folder.string())).class_names.at(99), "kind_99");
}

TEST(CifarTest, SizeChannelsAndCountAreTakenFromTheConfig) {
  const ScratchFolder folder;
  write_cifar10(folder);
  DataConfig config = config_for(folder.string());
  config.image_size = 16;
  config.channels = 1;
  config.max_images = 3;
  const ImageSet set = load_cifar10(config);
  EXPECT_EQ(set.images.sizes(), at::IntArrayRef({3, 1, 16, 16}));
  EXPECT_EQ(set.labels.sizes(), at::IntArrayRef({3}));
  // 0.299 * 10 + 0.587 * 11 + 0.114 * 12 = 10.815
  EXPECT_TRUE(set.images[0].eq(11).all().item<bool>());
}

TEST(CifarTest, DamagedFilesAreNamed) {
  const ScratchFolder folder;
  write_cifar10(folder);
  const auto error = [&] {
    return message_of<std::runtime_error>([&] { load_cifar10(config_for(folder.string())); });
  };
  Bytes bytes;
  append_record(bytes, {10}, 0);
  write_bytes(folder / "data_batch_3.bin", bytes);
  EXPECT_THAT(error(), HasSubstr("data_batch_3.bin': expected less than 10, got 10"));
  bytes.pop_back();
  write_bytes(folder / "data_batch_3.bin", bytes);
  EXPECT_THAT(error(), HasSubstr("data_batch_3.bin': expected a multiple of 3073 bytes, got 3072"));
  write_bytes(folder / "data_batch_3.bin", {});
  EXPECT_THAT(error(), HasSubstr("got 0"));
  fs::remove(folder / "data_batch_3.bin");
  EXPECT_THAT(message_of<std::invalid_argument>([&] { load_cifar10(config_for(folder.string())); }),
              HasSubstr("data_batch_3.bin', got none"));
}

}  // namespace
}  // namespace ddpm
