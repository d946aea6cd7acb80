#include "ddpm/data/image_set.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "data/scratch_folder.h"
#include "ddpm/data/image_codec.h"

namespace ddpm {
namespace {

using testing::config_for;
using ::testing::HasSubstr;
using testing::message_of;
using testing::ScratchFolder;
using ::testing::SizeIs;
using testing::write_bytes;
using Bytes = std::vector<uint8_t>;

std::string set_refusal_of(const DataConfig& config) {
  return message_of<std::invalid_argument>([&] { load_image_set(config); });
}

TEST(ImageSetTest, AutoFindsIdxFilesAndTheirFolders) {
  const ScratchFolder folder;
  write_bytes(folder / "my-images-idx3-ubyte", {0, 0, 8, 3, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 9});
  write_bytes(folder / "my-labels-idx1-ubyte", {0, 0, 8, 1, 0, 0, 0, 1, 2});
  for (const auto& path : {folder / "my-images-idx3-ubyte", folder / ""}) {
    const ImageSet set = load_image_set(config_for(path));
    EXPECT_EQ(set.images.item<int64_t>(), 9);
    EXPECT_EQ(set.labels.item<int64_t>(), 2);
  }
}

TEST(ImageSetTest, AutoFindsCifar) {
  const ScratchFolder folder;
  for (int b = 1; b <= 5; ++b) {
    write_bytes(folder / ("ten/data_batch_" + std::to_string(b) + ".bin"), Bytes(3073, 1));
  }
  write_bytes(folder / "hundred/train.bin", Bytes(3074, 1));
  EXPECT_THAT(load_image_set(config_for(folder / "ten")).class_names, SizeIs(10));
  EXPECT_THAT(load_image_set(config_for(folder / "hundred")).class_names, SizeIs(100));
}

TEST(ImageSetTest, AutoTakesAnyOtherFolderForImages) {
  const ScratchFolder folder;
  write_png((folder / "a.png").string(), Image::filled(4, 4, 3, 7));
  DataConfig config = config_for(folder.string());
  config.image_size = 4;
  EXPECT_EQ(load_image_set(config).images.sizes(), at::IntArrayRef({1, 3, 4, 4}));
}

TEST(ImageSetTest, ShapesNeedNoPath) {
  DataConfig config;
  config.kind = DataKind::kShapes;
  config.max_images = 3;
  EXPECT_EQ(load_image_set(config).name, "shapes");
  config.path = "somewhere";
  EXPECT_THAT(set_refusal_of(config), HasSubstr("expected none for shapes"));
}

TEST(ImageSetTest, WrongConfigsAreRefused) {
  const ScratchFolder folder;
  EXPECT_THAT(set_refusal_of({}), HasSubstr("data.path is empty"));
  EXPECT_THAT(set_refusal_of(config_for(folder / "absent")), HasSubstr("which is absent"));
  DataConfig config = config_for(folder.string());
  config.channels = 2;
  EXPECT_THAT(set_refusal_of(config), HasSubstr("data.channels: expected 0, 1 or 3, got 2"));
  config.channels = 0;
  config.image_size = 20'000;
  EXPECT_THAT(set_refusal_of(config), HasSubstr("data.image_size: expected 0 to 16384"));
  write_bytes(folder / "file", {1});
  for (const DataKind kind : {DataKind::kCifar10, DataKind::kCifar100, DataKind::kFolder}) {
    config = config_for(folder / "file");
    config.kind = kind;
    EXPECT_THAT(set_refusal_of(config), HasSubstr("expected a folder, got file"));
  }
}

TEST(FitImagesTest, AnOddBorderHasItsExtraPixelRightAndBelow) {
  DataConfig config;
  config.image_size = 5;
  const Tensor ones = at::ones({1, 1, 2, 2}, at::kByte);
  const Tensor padded = fit_images(ones, config, 3);
  Tensor expected = at::zeros({1, 1, 5, 5}, at::kByte);
  expected.slice(2, 1, 3).slice(3, 1, 3).fill_(1);
  EXPECT_TRUE(padded.equal(expected));
  EXPECT_TRUE(fit_images(ones, config, 2).eq(1).all().item<bool>());  // enlarged instead
}

}  // namespace
}  // namespace ddpm
