#include "ddpm/data/image_folder.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <chrono>
#include <filesystem>
#include <stdexcept>
#include <vector>

#include "data/scratch_folder.h"
#include "ddpm/data/image_codec.h"

namespace ddpm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;
using testing::ScratchFolder;
using ::testing::SizeIs;
using testing::write_text;

namespace fs = std::filesystem;

constexpr int64_t kImageSize = 8;

void write_image(const fs::path& path, uint8_t value, int64_t channels = 3) {
  fs::create_directories(path.parent_path());
  write_png(path.string(), Image::filled(kImageSize, kImageSize, channels, value));
}

DataConfig config_for(const ScratchFolder& folder) {
  DataConfig config = testing::config_for(folder.string());
  config.image_size = kImageSize;
  return config;
}

/// A cache however small the set is.
DataConfig cached_config_for(const ScratchFolder& folder) {
  DataConfig config = config_for(folder);
  config.cache_above_mib = 0;
  config.cache_dir = (folder / ".cache").string();
  return config;
}

std::vector<int64_t> values_of(const ImageSet& set) {
  std::vector<int64_t> values;
  for (int64_t i = 0; i < set.images.size(0); ++i) {
    values.push_back(set.images[i].max().item<int64_t>());
    EXPECT_EQ(values.back(), set.images[i].min().item<int64_t>());
  }
  return values;
}

std::vector<int64_t> labels_of(const ImageSet& set) {
  const auto* first = set.labels.const_data_ptr<int64_t>();
  return {first, first + set.labels.numel()};
}

TEST(ImageFolderTest, FilesAreSortedAndLabelledByTheFirstSubfolder) {
  const ScratchFolder folder;
  write_image(folder / "dog/b.png", 4);
  write_image(folder / "dog/a/deep/c.PNG", 3);
  write_image(folder / "cat/2.JPEG", 2);  // the content tells the format
  write_image(folder / "cat/1.Jpg", 1);
  write_image(folder / "cat-like/1.png", 5);
  write_text(folder / "cat/notes.txt", "no image");
  write_text(folder / ".hidden/x.png", "no image");
  write_text(folder / "cat/._1.png", "no image");
  const ImageSet set = load_image_folder(config_for(folder));
  EXPECT_THAT(values_of(set), ElementsAre(1, 2, 5, 3, 4));
  EXPECT_THAT(labels_of(set), ElementsAre(0, 0, 1, 2, 2));
  EXPECT_THAT(set.class_names, ElementsAre("cat", "cat-like", "dog"));
  EXPECT_EQ(set.images.sizes(), at::IntArrayRef({5, 3, kImageSize, kImageSize}));
}

TEST(ImageFolderTest, ImagesInTheFolderItselfHaveNoClass) {
  const ScratchFolder folder;
  write_image(folder / "b.png", 2);
  write_image(folder / "a.png", 1);
  const ImageSet set = load_image_folder(config_for(folder));
  EXPECT_THAT(values_of(set), ElementsAre(1, 2));
  EXPECT_THAT(labels_of(set), ElementsAre(0, 0));
  EXPECT_THAT(set.class_names, IsEmpty());
  write_image(folder / "class/c.png", 3);
  EXPECT_THAT(message_of<std::invalid_argument>([&] { load_image_folder(config_for(folder)); }),
              HasSubstr("got both ('b.png' and folder 'class')"));
}

TEST(ImageFolderTest, LinksAreFollowedAndCirclesRefused) {
  const ScratchFolder folder;
  write_image(folder / "real/x/a.png", 1);
  fs::create_directories(folder / "set");
  fs::create_directory_symlink(folder / "real/x", folder / "set/one");
  fs::create_directories(folder / "set/two");
  fs::create_symlink(folder / "real/x/a.png", folder / "set/two/b.png");
  DataConfig config = config_for(folder);
  config.path = (folder / "set").string();
  const ImageSet set = load_image_folder(config);
  EXPECT_THAT(values_of(set), ElementsAre(1, 1));
  EXPECT_THAT(set.class_names, ElementsAre("one", "two"));
  fs::create_directory_symlink(folder / "set", folder / "set/two/up");
  EXPECT_THAT(message_of<std::invalid_argument>([&] { load_image_folder(config); }),
              HasSubstr("lead in a circle"));
}

TEST(ImageFolderTest, ChannelsFollowTheFilesUnlessTheConfigSaysOtherwise) {
  const ScratchFolder folder;
  write_image(folder / "a.png", 10, 1);
  write_image(folder / "b.png", 20, 1);
  DataConfig config = config_for(folder);
  EXPECT_EQ(load_image_folder(config).images.size(1), 1);
  config.channels = 3;
  EXPECT_EQ(load_image_folder(config).images.size(1), 3);
  config.channels = 0;
  write_image(folder / "c.png", 30, 3);
  const ImageSet mixed = load_image_folder(config);
  EXPECT_EQ(mixed.images.size(1), 3);
  EXPECT_THAT(values_of(mixed), ElementsAre(10, 20, 30));
  config.channels = 1;
  EXPECT_THAT(values_of(load_image_folder(config)), ElementsAre(10, 20, 30));
}

TEST(ImageFolderTest, PlanesAreInOrderAndImagesAreFitted) {
  const ScratchFolder folder;
  Image wide = Image::filled(3 * kImageSize, kImageSize, 3, 0);  // red, green, blue blocks
  for (int64_t y = 0; y < kImageSize; ++y) {
    for (int64_t x = 0; x < 3 * kImageSize; ++x) wide.at(x, y)[x / kImageSize] = 200;
  }
  write_png((folder / "a.png").string(), wide);
  DataConfig config = config_for(folder);
  const Tensor middle = load_image_folder(config).images[0];  // cropped: the green block
  EXPECT_TRUE(middle[0].eq(0).all().item<bool>());
  EXPECT_TRUE(middle[1].eq(200).all().item<bool>());
  EXPECT_TRUE(middle[2].eq(0).all().item<bool>());
  config.fit = FitPolicy::kStretch;
  const Tensor all = load_image_folder(config).images[0];
  EXPECT_EQ(all[0][0][0].item<int64_t>(), 200);
  EXPECT_EQ(all[2][0][kImageSize - 1].item<int64_t>(), 200);
}

TEST(ImageFolderTest, TheFirstDamagedFileIsFatal) {
  const ScratchFolder folder;
  for (int i = 10; i < 30; ++i) write_image(folder / (std::to_string(i) + ".png"), 1);
  write_text(folder / "15.png", "damaged");
  write_text(folder / "16.png", "damaged");
  for (int repeat = 0; repeat < 10; ++repeat) {
    EXPECT_THAT(message_of<std::runtime_error>([&] { load_image_folder(config_for(folder)); }),
                HasSubstr((folder / "15.png").string()));
  }
}

TEST(ImageFolderTest, DamagedFilesAreLeftOutAndNamedOnRequest) {
  const ScratchFolder folder;
  for (int i = 10; i < 20; ++i) {
    write_image(folder / (std::to_string(i) + ".png"), static_cast<uint8_t>(i));
  }
  for (const char* name : {"10.png", "13.png", "14.png", "19.png"}) write_text(folder / name, "no");
  fs::create_symlink(folder / "nowhere", folder / "20.png");
  DataConfig config = config_for(folder);
  config.on_damaged = DamagedPolicy::kSkip;
  const ImageSet set = load_image_folder(config);
  EXPECT_THAT(values_of(set), ElementsAre(11, 12, 15, 16, 17, 18));
  EXPECT_THAT(labels_of(set), SizeIs(6));
  ASSERT_THAT(set.skipped, SizeIs(5));
  EXPECT_THAT(set.skipped[1], HasSubstr((folder / "13.png").string() + ": "));
  for (int i = 10; i < 20; ++i) write_text(folder / (std::to_string(i) + ".png"), "no");
  EXPECT_THAT(message_of<std::runtime_error>([&] { load_image_folder(config); }),
              HasSubstr("got 11 damaged ones, the first: " + (folder / "10.png").string()));
}

TEST(ImageFolderTest, EmptyFoldersAndSizesAreRefused) {
  const ScratchFolder folder;
  EXPECT_THAT(message_of<std::invalid_argument>([&] { load_image_folder(config_for(folder)); }),
              HasSubstr("got none"));
  EXPECT_THAT(message_of<std::invalid_argument>(
                  [&] { load_image_folder(testing::config_for(folder.string())); }),
              HasSubstr("data.image_size"));
}

TEST(ImageFolderTest, MaxImagesTakesTheFirstFiles) {
  const ScratchFolder folder;
  for (int i = 1; i < 6; ++i) write_image(folder / (std::to_string(i) + ".png"), uint8_t(i));
  DataConfig config = config_for(folder);
  config.max_images = 3;
  EXPECT_THAT(values_of(load_image_folder(config)), ElementsAre(1, 2, 3));
}

TEST(ImageFolderTest, ACachedSetEqualsTheOneInMemory) {
  const ScratchFolder folder;
  for (int i = 1; i < 9; ++i) {
    write_image(folder / (i < 4 ? "a" : "b") / (std::to_string(i) + ".png"), uint8_t(i));
  }
  write_text(folder / "a/2.png", "damaged");
  DataConfig plain = config_for(folder), cached = cached_config_for(folder);
  plain.on_damaged = cached.on_damaged = DamagedPolicy::kSkip;
  const ImageSet expected = load_image_folder(plain);
  for (int repeat = 0; repeat < 2; ++repeat) {  // made, then read
    const ImageSet got = load_image_folder(cached);
    EXPECT_TRUE(got.images.equal(expected.images));
    EXPECT_TRUE(got.labels.equal(expected.labels));
    EXPECT_EQ(got.class_names, expected.class_names);
    EXPECT_EQ(got.skipped, expected.skipped);
    EXPECT_EQ(got.name, expected.name);
  }
}

TEST(ImageFolderTest, TheCacheIsMadeAgainWhenFilesOrOptionsChange) {
  const ScratchFolder folder;
  write_image(folder / "a.png", 1);
  DataConfig config = cached_config_for(folder);
  EXPECT_THAT(values_of(load_image_folder(config)), ElementsAre(1));
  const auto changed = fs::last_write_time(folder / "a.png");
  write_image(folder / "a.png", 2);  // the same size, another time
  fs::last_write_time(folder / "a.png", changed + std::chrono::seconds(2));
  EXPECT_THAT(values_of(load_image_folder(config)), ElementsAre(2));
  write_image(folder / "b.png", 3);
  EXPECT_THAT(values_of(load_image_folder(config)), ElementsAre(2, 3));
  config.image_size = 16;
  EXPECT_EQ(load_image_folder(config).images.size(2), 16);
  fs::remove(folder / "a.png");
  EXPECT_THAT(values_of(load_image_folder(config)), ElementsAre(3));
}

TEST(ImageFolderTest, TheCacheIsUsedWithoutDecodingAgain) {
  const ScratchFolder folder;
  write_image(folder / "a.png", 1);
  const DataConfig config = cached_config_for(folder);
  load_image_folder(config);
  const auto changed = fs::last_write_time(folder / "a.png");
  const auto size = fs::file_size(folder / "a.png");
  write_text(folder / "a.png", std::string(size, 'x'));  // damaged, but it looks unchanged
  fs::last_write_time(folder / "a.png", changed);
  EXPECT_THROW(load_image_folder(config_for(folder)), std::runtime_error);
  EXPECT_THAT(values_of(load_image_folder(config)), ElementsAre(1));
  DataConfig respelled = config;
  respelled.path = (folder / ".." / fs::path(folder.string()).filename() / ".").string();
  const ImageSet set = load_image_folder(respelled);
  EXPECT_THAT(values_of(set), ElementsAre(1));
  EXPECT_EQ(set.name, respelled.path);
}

TEST(ImageFolderTest, WithoutACacheDirItLiesBesideTheFolder) {
  const ScratchFolder folder;
  write_image(folder / "set/a.png", 1);
  DataConfig config = config_for(folder);
  config.path = (folder / "set").string();
  config.cache_above_mib = 0;
  load_image_folder(config);
  EXPECT_TRUE(fs::is_directory(folder / ".ddpm-cache"));
}

TEST(ImageFolderTest, ADamagedSetLeavesNoCache) {
  const ScratchFolder folder;
  write_text(folder / "a.png", "damaged");
  DataConfig config = cached_config_for(folder);
  EXPECT_THROW(load_image_folder(config), std::runtime_error);
  config.on_damaged = DamagedPolicy::kSkip;
  EXPECT_THROW(load_image_folder(config), std::runtime_error);
  for (const auto& entry : fs::directory_iterator(config.cache_dir)) {
    EXPECT_EQ(entry.path().extension(), ".lock");
  }
}

}  // namespace
}  // namespace ddpm
