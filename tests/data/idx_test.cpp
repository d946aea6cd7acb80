#include "ddpm/data/idx.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <numeric>
#include <stdexcept>
#include <vector>
#include <zlib.h>

#include "data/scratch_folder.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

using testing::config_for;
using ::testing::ElementsAre;
using ::testing::HasSubstr;
using testing::message_of;
using testing::ScratchFolder;
using testing::write_bytes;

namespace fs = std::filesystem;
using Bytes = std::vector<uint8_t>;

/// An IDX file of unsigned bytes that count up from 0.
Bytes make_idx(const std::vector<int64_t>& sizes) {
  Bytes bytes;
  for (const size_t value : {size_t{0}, size_t{0}, size_t{8}, sizes.size()}) {
    bytes.push_back(static_cast<uint8_t>(value));
  }
  int64_t total = 1;
  for (const int64_t size : sizes) {
    for (const int shift : {24, 16, 8, 0}) bytes.push_back(static_cast<uint8_t>(size >> shift));
    total *= size;
  }
  for (int64_t i = 0; i < total; ++i) bytes.push_back(static_cast<uint8_t>(i));
  return bytes;
}

void write_gzip(const fs::path& path, const Bytes& bytes) {
  fs::create_directories(path.parent_path());
  gzFile file = gzopen(path.c_str(), "wb");
  ASSERT_NE(file, nullptr);
  ASSERT_EQ(gzwrite(file, bytes.data(), static_cast<unsigned>(bytes.size())),
            static_cast<int>(bytes.size()));
  gzclose(file);
}

std::string error_of(const fs::path& path) {
  return message_of<std::runtime_error>([&] { read_idx(path); });
}

TEST(IdxTest, ReadsPlainAndGzipFilesAlike) {
  const ScratchFolder folder;
  const Bytes bytes = make_idx({2, 3, 5});
  write_bytes(folder / "plain", bytes);
  write_gzip(folder / "packed", bytes);
  for (const char* name : {"plain", "packed"}) {
    const IdxArray array = read_idx(folder / name);
    EXPECT_THAT(array.sizes, ElementsAre(2, 3, 5));
    Bytes expected(30);
    std::iota(expected.begin(), expected.end(), uint8_t{0});
    EXPECT_EQ(array.values, expected);
  }
}

TEST(IdxTest, DataOfManyChunksIsReadWhole) {
  const ScratchFolder folder;
  const Bytes bytes = make_idx({17, 1 << 20});  // a chunk is 16 MiB
  write_gzip(folder / "large", bytes);
  EXPECT_EQ(read_idx(folder / "large").values, Bytes(bytes.begin() + 12, bytes.end()));
}

TEST(IdxTest, EveryTruncationIsAnErrorThatNamesTheFile) {
  const ScratchFolder folder;
  const Bytes whole = make_idx({2, 2});
  for (size_t size = 0; size < whole.size(); ++size) {
    write_bytes(folder / "short", Bytes(whole.begin(), whole.begin() + static_cast<int>(size)));
    EXPECT_THAT(error_of(folder / "short"), HasSubstr((folder / "short").string())) << size;
  }
}

TEST(IdxTest, EveryTruncationOfGzipIsAnErrorThatNamesTheFile) {
  const ScratchFolder folder;
  write_gzip(folder / "whole", make_idx({4, 4}));
  const Bytes whole = read_binary_file(folder / "whole");
  for (size_t size = 0; size < whole.size(); ++size) {
    write_bytes(folder / "short", Bytes(whole.begin(), whole.begin() + static_cast<int>(size)));
    EXPECT_THAT(error_of(folder / "short"), HasSubstr((folder / "short").string())) << size;
  }
}

// The first ten bytes are gzip's header (its time and system do not matter); behind it every byte
// is data, checksum or length.
TEST(IdxTest, EveryDamagedByteOfAGzipStreamIsFound) {
  const ScratchFolder folder;
  write_gzip(folder / "whole", make_idx({4, 4}));
  const Bytes whole = read_binary_file(folder / "whole");
  for (size_t at = 10; at < whole.size(); ++at) {
    Bytes damaged = whole;
    damaged[at] ^= 0x55;
    write_bytes(folder / "damaged", damaged);
    EXPECT_THAT(error_of(folder / "damaged"), HasSubstr((folder / "damaged").string())) << at;
  }
}

TEST(IdxTest, WrongHeadersAreNamed) {
  const ScratchFolder folder;
  const auto error_with = [&](size_t at, uint8_t value) {
    Bytes bytes = make_idx({2, 2});
    bytes[at] = value;
    write_bytes(folder / "file", bytes);
    return error_of(folder / "file");
  };
  EXPECT_THAT(error_with(0, 1), HasSubstr("not an IDX file"));
  EXPECT_THAT(error_with(2, 0x0d), HasSubstr("expected 8 (unsigned bytes), got 13"));
  EXPECT_THAT(error_with(3, 0), HasSubstr("expected 1 to 4, got 0"));
  EXPECT_THAT(error_with(3, 5), HasSubstr("expected 1 to 4, got 5"));
}

TEST(IdxTest, BytesAfterTheDataAreAnError) {
  const ScratchFolder folder;
  Bytes bytes = make_idx({2, 2});
  bytes.push_back(0);
  write_bytes(folder / "plain", bytes);
  write_gzip(folder / "packed", bytes);
  EXPECT_THAT(error_of(folder / "plain"), HasSubstr("goes on after its data: expected 4 bytes"));
  EXPECT_THAT(error_of(folder / "packed"), HasSubstr("goes on after its data: expected 4 bytes"));
}

// 255^4 of 2^24 overflow 64 bits; 2^39 bytes are allowed but are not there, and are not reserved.
TEST(IdxTest, HugeAnnouncedSizesFailWithoutTakingMemory) {
  const ScratchFolder folder;
  Bytes overflow(20, 0xff);
  std::copy_n(make_idx({0, 0, 0, 0}).begin(), 4, overflow.begin());
  write_bytes(folder / "overflow", overflow);
  EXPECT_THAT(error_of(folder / "overflow"), HasSubstr("at most 2^40 bytes"));
  write_bytes(folder / "absent", {0, 0, 8, 2, 0x7f, 0xff, 0xff, 0xff, 0, 0, 1, 0, 1, 2, 3});
  EXPECT_THAT(error_of(folder / "absent"), HasSubstr("expected 549755813632 bytes of data, got 3"));
}

TEST(IdxTest, AbsentFilesAndFoldersAreNamed) {
  const ScratchFolder folder;
  EXPECT_THAT(error_of(folder / "nothing"), HasSubstr("can't open"));
  EXPECT_THAT(error_of(folder.string()), HasSubstr("expected a file, got folder"));
}

/// Three images of 28 x 28 and labels 0, 1, 2.
DataConfig write_digits(const ScratchFolder& folder, const std::string& prefix = "train-") {
  write_gzip(folder / (prefix + "images-idx3-ubyte.gz"), make_idx({3, 28, 28}));
  write_gzip(folder / (prefix + "labels-idx1-ubyte.gz"), make_idx({3}));
  return config_for(folder / (prefix + "images-idx3-ubyte.gz"));
}

TEST(IdxTest, ImagesKeepTheirSizeAndFindTheirLabels) {
  const ScratchFolder folder;
  const ImageSet set = load_idx(write_digits(folder));
  EXPECT_EQ(set.images.sizes(), at::IntArrayRef({3, 1, 28, 28}));
  EXPECT_EQ(set.images[2][0][27][27].item<int64_t>(), (3 * 28 * 28 - 1) % 256);
  EXPECT_TRUE(set.labels.equal(at::arange(3, at::kLong)));
  EXPECT_THAT(set.class_names, ElementsAre("0", "1", "2"));
}

TEST(IdxTest, AFolderStandsForItsTrainingImages) {
  const ScratchFolder folder;
  write_digits(folder, "t10k-");
  EXPECT_EQ(load_idx(config_for(folder.string())).labels.size(0), 3);  // the only ones
  write_bytes(folder / "train-images-idx3-ubyte", make_idx({1, 28, 28}));
  write_gzip(folder / "train-labels-idx1-ubyte.gz", make_idx({1}));
  EXPECT_EQ(load_idx(config_for(folder.string())).labels.size(0), 1);
}

TEST(IdxTest, TwentyEightPixelsArePaddedToThirtyTwoWithZeros) {
  const ScratchFolder folder;
  DataConfig config = write_digits(folder);
  const Tensor native = load_idx(config).images;
  config.image_size = 32;
  const Tensor padded = load_idx(config).images;
  EXPECT_EQ(padded.sizes(), at::IntArrayRef({3, 1, 32, 32}));
  EXPECT_TRUE(padded.slice(2, 2, 30).slice(3, 2, 30).equal(native));
  EXPECT_EQ(padded.sum().item<int64_t>(), native.sum().item<int64_t>());
}

TEST(IdxTest, OtherSizesAreResized) {
  const ScratchFolder folder;
  DataConfig config = write_digits(folder);
  const Tensor native = load_idx(config).images.to(at::kFloat);
  config.image_size = 14;
  const Tensor expected = at::avg_pool2d(native, {2, 2});  // area filter, rounded to uint8
  const Tensor halved = load_idx(config).images.to(at::kFloat);
  EXPECT_LE((halved - expected).abs().max().item<double>(), 0.5);
}

TEST(IdxTest, GreyBecomesRgbOnDemandAndMaxImagesTakesTheFirst) {
  const ScratchFolder folder;
  DataConfig config = write_digits(folder);
  const Tensor native = load_idx(config).images;
  config.channels = 3;
  config.max_images = 2;
  const ImageSet set = load_idx(config);
  EXPECT_TRUE(set.images.equal(native.narrow(0, 0, 2).expand({2, 3, 28, 28})));
  EXPECT_TRUE(set.labels.equal(at::arange(2, at::kLong)));
}

TEST(IdxTest, FashionClassesHaveNames) {
  const ScratchFolder folder;
  DataConfig config = write_digits(folder, "Fashion/train-");
  EXPECT_THAT(load_idx(config).class_names,
              ElementsAre("t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt",
                          "sneaker", "bag", "ankle_boot"));
  write_gzip(folder / "Fashion/train-images-idx3-ubyte.gz", make_idx({11, 2, 2}));
  write_gzip(folder / "Fashion/train-labels-idx1-ubyte.gz", make_idx({11}));
  EXPECT_THAT(message_of<std::runtime_error>([&] { load_idx(config); }), HasSubstr("got 10"));
}

TEST(IdxTest, LabelsThatDoNotFitAreNamed) {
  const ScratchFolder folder;
  DataConfig config = write_digits(folder);
  write_gzip(folder / "train-labels-idx1-ubyte.gz", make_idx({4}));
  EXPECT_THAT(message_of<std::runtime_error>([&] { load_idx(config); }),
              HasSubstr("expected 3 labels, one for each image, got 4"));
  write_gzip(folder / "train-labels-idx1-ubyte.gz", make_idx({3, 1}));
  EXPECT_THAT(message_of<std::runtime_error>([&] { load_idx(config); }),
              HasSubstr("expected 1 dimension, got 2"));
  fs::remove(folder / "train-labels-idx1-ubyte.gz");
  EXPECT_THAT(message_of<std::invalid_argument>([&] { load_idx(config); }),
              HasSubstr("got no such file"));
}

TEST(IdxTest, ImagesUnderAnotherNameNeedNoLabels) {
  const ScratchFolder folder;
  write_bytes(folder / "pictures.idx", make_idx({2, 4, 4}));
  const ImageSet set = load_idx(config_for(folder / "pictures.idx"));
  EXPECT_TRUE(set.class_names.empty());
  EXPECT_TRUE(set.labels.equal(at::zeros({2}, at::kLong)));
}

TEST(IdxTest, ArraysThatAreNoImagesAreNamed) {
  const ScratchFolder folder;
  write_bytes(folder / "a.idx", make_idx({2, 4}));
  EXPECT_THAT(message_of<std::runtime_error>([&] { load_idx(config_for(folder / "a.idx")); }),
              HasSubstr("expected 3 dimensions"));
  write_bytes(folder / "a.idx", make_idx({0, 4, 4}));
  EXPECT_THAT(message_of<std::runtime_error>([&] { load_idx(config_for(folder / "a.idx")); }),
              HasSubstr("expected at least one pixel"));
  write_bytes(folder / "a.idx", make_idx({1, 4, 4}));
  DataConfig small = config_for(folder / "a.idx");
  small.max_pixels = 15;
  EXPECT_THAT(message_of<std::runtime_error>([&] { load_idx(small); }),
              HasSubstr("data.max_pixels = 15"));
  write_bytes(folder / "a.idx", make_idx({1, 4, 2}));
  EXPECT_THAT(message_of<std::invalid_argument>([&] { load_idx(config_for(folder / "a.idx")); }),
              HasSubstr("expected square images, got 2 x 4"));
}

// Facts that the data set's authors publish: 60,000 images, 6,000 of each class; the mean that
// every tutorial normalises by is 0.2860.
TEST(IdxTest, FashionMnistIsReadAsPublished) {
  const std::string path = "/usr/share/datasets/fashion-mnist/train-images-idx3-ubyte.gz";
  if (!fs::exists(path)) GTEST_SKIP() << "no " << path << " (Debian: dataset-fashion-mnist)";
  const ImageSet set = load_idx(config_for(path));
  EXPECT_EQ(set.images.sizes(), at::IntArrayRef({60'000, 1, 28, 28}));
  EXPECT_TRUE(at::bincount(set.labels).eq(6000).all().item<bool>());
  EXPECT_NEAR(set.images.sum(at::kLong).item<double>() / (60'000.0 * 784 * 255), 0.2860, 5e-5);
  EXPECT_EQ(set.class_names.at(static_cast<size_t>(set.labels[0].item<int64_t>())), "ankle_boot");
}

}  // namespace
}  // namespace ddpm
