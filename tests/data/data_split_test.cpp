#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <set>
#include <stdexcept>
#include <vector>

#include "data/scratch_folder.h"
#include "ddpm/data/image_codec.h"
#include "ddpm/data/image_folder_files.h"
#include "ddpm/data/image_set.h"

namespace ddpm {
namespace {

using testing::config_for;
using ::testing::HasSubstr;
using testing::message_of;
using testing::ScratchFolder;
using testing::write_bytes;

namespace fs = std::filesystem;
using Bytes = std::vector<uint8_t>;

DataConfig test_config_for(const fs::path& path) {
  DataConfig config = config_for(path);
  config.split = DataSplit::kTest;
  return config;
}

std::string refusal_of(const DataConfig& config) {
  return message_of<std::invalid_argument>([&] { load_image_set(config); });
}

/// One grey pixel and its label.
void write_idx_pair(const ScratchFolder& folder, const std::string& part, uint8_t pixel,
                    uint8_t label) {
  write_bytes(folder / (part + "-images-idx3-ubyte"),
              {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, pixel});
  write_bytes(folder / (part + "-labels-idx1-ubyte"), {0, 0, 8, 1, 0, 0, 0, 1, label});
}

TEST(DataSplitTest, IdxTestImagesLieBesideThoseOfTraining) {
  const ScratchFolder folder;
  write_idx_pair(folder, "train", 9, 1);
  EXPECT_FALSE(has_test_split(config_for(folder.string())));
  EXPECT_THAT(refusal_of(test_config_for(folder.string())), HasSubstr("test images beside them"));
  write_idx_pair(folder, "t10k", 200, 3);
  for (const auto& path : {folder / "", folder / "train-images-idx3-ubyte"}) {
    EXPECT_TRUE(has_test_split(config_for(path)));
    EXPECT_EQ(load_image_set(config_for(path)).images.item<int64_t>(), 9);
    const ImageSet test = load_image_set(test_config_for(path));
    EXPECT_EQ(test.images.item<int64_t>(), 200);
    EXPECT_EQ(test.labels.item<int64_t>(), 3);
    EXPECT_THAT(test.name, HasSubstr("t10k"));
  }
  EXPECT_FALSE(has_test_split(config_for(folder / "t10k-images-idx3-ubyte")));
  DataConfig labelled = test_config_for(folder.string());
  labelled.labels_path = (folder / "train-labels-idx1-ubyte").string();
  EXPECT_THAT(refusal_of(labelled), HasSubstr("data.labels_path: expected none"));
}

TEST(DataSplitTest, IdxTestImagesMayBeNamedTest) {
  const ScratchFolder folder;
  write_idx_pair(folder, "letters-train", 9, 1);
  write_idx_pair(folder, "letters-test", 77, 0);
  const DataConfig config = test_config_for(folder / "letters-train-images-idx3-ubyte");
  EXPECT_EQ(load_image_set(config).images.item<int64_t>(), 77);
}

TEST(DataSplitTest, CifarHasTestBatches) {
  const ScratchFolder folder;
  for (int b = 1; b <= 5; ++b) {
    write_bytes(folder / ("ten/data_batch_" + std::to_string(b) + ".bin"), Bytes(3073, 1));
  }
  write_bytes(folder / "ten/test_batch.bin", Bytes(3073, 7));
  write_bytes(folder / "hundred/train.bin", Bytes(3074, 1));
  write_bytes(folder / "hundred/test.bin", Bytes(3074, 8));
  EXPECT_TRUE(has_test_split(config_for(folder / "ten")));
  EXPECT_EQ(load_image_set(config_for(folder / "ten")).images.size(0), 5);
  const ImageSet ten = load_image_set(test_config_for(folder / "ten"));
  EXPECT_EQ(ten.labels.item<int64_t>(), 7);
  EXPECT_EQ(load_image_set(test_config_for(folder / "hundred")).labels.item<int64_t>(), 8);
}

TEST(DataSplitTest, ShapesOfTheTestSplitAreOthers) {
  DataConfig config;
  config.kind = DataKind::kShapes;
  config.image_size = 8;
  config.max_images = 20;
  EXPECT_TRUE(has_test_split(config));
  const ImageSet train = load_image_set(config);
  config.split = DataSplit::kTest;
  const ImageSet test = load_image_set(config);
  EXPECT_EQ(test.images.sizes(), train.images.sizes());
  for (int64_t i = 0; i < 20; ++i) EXPECT_FALSE(at::equal(test.images[i], train.images[i]));
}

TEST(DataSplitTest, ArraysHoldNothingOut) {
  const ScratchFolder folder;
  write_bytes(folder / "a.npz", {});
  EXPECT_FALSE(has_test_split(config_for(folder / "a.npz")));
  EXPECT_THAT(refusal_of(test_config_for(folder / "a.npz")), HasSubstr("of kind npz"));
}

/// Grey images of one value each, named by it.
void write_values(const ScratchFolder& folder, int first, int count) {
  for (int value = first; value < first + count; ++value) {
    write_png((folder / ("image-" + std::to_string(value) + ".png")).string(),
              Image::filled(2, 2, 1, static_cast<uint8_t>(value)));
  }
}

std::set<int64_t> values_of_split(const ScratchFolder& folder, DataSplit split, double fraction) {
  DataConfig config = config_for(folder.string());
  config.image_size = 2;
  config.split = split;
  config.held_out_fraction = fraction;
  std::set<int64_t> values;
  const Tensor images = load_image_set(config).images;
  for (int64_t i = 0; i < images.size(0); ++i) values.insert(images[i].max().item<int64_t>());
  return values;
}

TEST(DataSplitTest, AFolderHoldsAShareOfItsFilesOut) {
  const ScratchFolder folder;
  write_values(folder, 0, 200);
  const auto train = values_of_split(folder, DataSplit::kTrain, 0.25);
  const auto test = values_of_split(folder, DataSplit::kTest, 0.25);
  EXPECT_EQ(train.size() + test.size(), 200U);
  for (const int64_t value : test) EXPECT_EQ(train.count(value), 0U);
  EXPECT_NEAR(static_cast<double>(test.size()), 50, 4 * 6.1);  // sqrt(200 * 0.25 * 0.75) = 6.1
  EXPECT_EQ(values_of_split(folder, DataSplit::kTrain, 0).size(), 200U);
}

TEST(DataSplitTest, AFileStaysOnItsSideWhenOthersCome) {
  const ScratchFolder folder;
  write_values(folder, 50, 50);
  const auto before = values_of_split(folder, DataSplit::kTest, 0.3);
  write_values(folder, 0, 50);
  const auto after = values_of_split(folder, DataSplit::kTest, 0.3);
  EXPECT_TRUE(std::includes(after.begin(), after.end(), before.begin(), before.end()));
  EXPECT_GT(after.size(), before.size());
  const auto more = values_of_split(folder, DataSplit::kTest, 0.6);  // a larger share holds it
  EXPECT_TRUE(std::includes(more.begin(), more.end(), after.begin(), after.end()));
}

TEST(DataSplitTest, TheShareIsForFoldersAndTestNeedsIt) {
  const ScratchFolder folder;
  write_values(folder, 1, 1);
  DataConfig config = test_config_for(folder.string());
  config.image_size = 2;
  EXPECT_FALSE(has_test_split(config));
  EXPECT_THAT(refusal_of(config), HasSubstr("data.held_out_fraction above 0"));
  config.held_out_fraction = 1e-9;
  EXPECT_TRUE(has_test_split(config));
  EXPECT_THAT(refusal_of(config), HasSubstr("expected a file on the test side"));
  DataConfig shapes;
  shapes.kind = DataKind::kShapes;
  shapes.held_out_fraction = 0.1;
  EXPECT_THAT(refusal_of(shapes), HasSubstr("expected 0 for shapes"));
}

TEST(DataSplitTest, CachesOfTheTwoSidesAreApart) {
  const ScratchFolder folder;
  write_values(folder, 0, 40);
  DataConfig config = config_for(folder.string());
  config.image_size = 2;
  config.cache_above_mib = 0;
  config.cache_dir = (folder / ".cache").string();
  config.held_out_fraction = 0.5;
  const int64_t train = load_image_set(config).images.size(0);
  config.split = DataSplit::kTest;
  const int64_t test = load_image_set(config).images.size(0);
  EXPECT_EQ(train + test, 40);
  EXPECT_EQ(std::distance(fs::directory_iterator(folder / ".cache"), fs::directory_iterator()), 4)
      << "a file and its lock for each";
}

}  // namespace
}  // namespace ddpm
