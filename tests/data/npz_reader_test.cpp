#include "ddpm/data/npz_reader.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "data/scratch_folder.h"
#include "ddpm/core/file.h"
#include "ddpm/data/image_set.h"
#include "ddpm/data/npz.h"
#include "support/run_python.h"

namespace ddpm {
namespace {

using ::testing::ElementsAre;
using ::testing::HasSubstr;
using ::testing::IsEmpty;
using testing::message_of;
using testing::ScratchFolder;
using testing::write_bytes;

namespace fs = std::filesystem;
using Bytes = std::vector<uint8_t>;

/// Lets Python write files into the folder, its only argument.
void run_script(const ScratchFolder& folder, const std::string& script) {
  testing::write_text(folder / "make.py",
                      "import sys, os, numpy as np\nos.chdir(sys.argv[1])\n" + script);
  testing::run_python({(folder / "make.py").string(), folder.string()});
}

std::string npz_error_of(const fs::path& path) {
  return message_of<std::runtime_error>([&] { read_npz(path, {"a"}); });
}

TEST(NpzReaderTest, ReadsWhatNumPyWrites) {
  const ScratchFolder folder;
  run_script(folder, R"(
np.savez("a.npz", bytes=np.arange(24, dtype=np.uint8).reshape(2, 3, 4), longs=np.array([-1 << 62, 5]),
         floats=np.array([0.1, -2.5e30], np.float32), doubles=np.array([[0.1], [1e-300]]),
         scalar=np.float64(7), empty=np.zeros((0, 3)), words=np.array(["x"]))
)");
  const auto arrays = read_npz(
      folder / "a.npz", {"bytes", "longs", "floats", "doubles", "scalar", "empty", "absent"});
  EXPECT_EQ(arrays.size(), 6U);
  EXPECT_TRUE(at::equal(arrays.at("bytes"), at::arange(24).to(at::kByte).view({2, 3, 4})));
  EXPECT_TRUE(
      at::equal(arrays.at("longs"), at::tensor({int64_t{-1} << 62, int64_t{5}}, at::kLong)));
  EXPECT_TRUE(at::equal(arrays.at("floats"), at::tensor({0.1F, -2.5e30F})));
  EXPECT_TRUE(at::equal(arrays.at("doubles"), at::tensor({0.1, 1e-300}, at::kDouble).view({2, 1})));
  EXPECT_EQ(arrays.at("scalar").item<double>(), 7);
  EXPECT_EQ(arrays.at("empty").sizes(), at::IntArrayRef({0, 3}));
}

TEST(NpzReaderTest, ReadsWhatWriteNpzWrites) {
  const ScratchFolder folder;
  const Tensor array = at::arange(30, at::kDouble).view({5, 6});
  write_npz(folder / "a.npz", {{"a", array}, {"b", array.t()}});
  const auto arrays = read_npz(folder / "a.npz", {"a", "b"});
  EXPECT_TRUE(at::equal(arrays.at("a"), array));
  EXPECT_TRUE(at::equal(arrays.at("b"), array.t()));
}

TEST(NpzReaderTest, RefusesWhatItCannotReadAndNamesIt) {
  const ScratchFolder folder;
  run_script(folder, R"(
np.savez_compressed("compressed.npz", a=np.zeros(100))
np.savez("fortran.npz", a=np.asfortranarray(np.zeros((2, 3))))
np.savez("half.npz", a=np.zeros(2, np.float16))
np.savez("big_endian.npz", a=np.zeros(2, ">f4"))
np.savez("objects.npz", a=np.array([None]))
)");
  EXPECT_THAT(npz_error_of(folder / "compressed.npz"), HasSubstr("got compressed ones"));
  EXPECT_THAT(npz_error_of(folder / "fortran.npz"), HasSubstr("expected C order"));
  for (const char* name : {"half.npz", "big_endian.npz", "objects.npz"}) {
    EXPECT_THAT(npz_error_of(folder / name), HasSubstr("dtype: expected uint8, int64")) << name;
    EXPECT_THAT(npz_error_of(folder / name), HasSubstr(name));
  }
  write_bytes(folder / "text.npz", {'h', 'i'});
  EXPECT_THAT(npz_error_of(folder / "text.npz"), HasSubstr("expected an .npz file"));
  EXPECT_THAT(npz_error_of(folder / "absent.npz"), HasSubstr("absent.npz"));
}

TEST(NpzReaderTest, EveryChangedByteIsReadOrRefused) {
  const ScratchFolder folder;
  write_npz(folder / "whole.npz", {{"a", at::arange(6, at::kLong).view({2, 3})}});
  const Bytes whole = read_binary_file(folder / "whole.npz");
  for (size_t at = 0; at < whole.size(); ++at) {
    for (const uint8_t value : {uint8_t{0}, uint8_t{0xFF}, static_cast<uint8_t>(whole[at] ^ 1)}) {
      Bytes changed = whole;
      changed[at] = value;
      write_bytes(folder / "changed.npz", changed);
      try {
        read_npz(folder / "changed.npz", {"a"});
      } catch (const std::runtime_error&) {
      }
    }
  }
  for (size_t size = 0; size < whole.size(); ++size) {
    write_bytes(folder / "cut.npz", Bytes(whole.begin(), whole.begin() + static_cast<long>(size)));
    EXPECT_THROW(read_npz(folder / "cut.npz", {"a"}), std::runtime_error) << size;
  }
}

TEST(NpzImagesTest, SamplesAreASetOfImages) {
  const ScratchFolder folder;
  const Tensor images = at::arange(2 * 4 * 4 * 3).to(at::kByte).view({2, 4, 4, 3});
  write_npz(folder / "x.npz", {{"arr_0", images}, {"arr_1", at::tensor({2, 0}, at::kLong)}});
  DataConfig config = testing::config_for(folder / "x.npz");
  const ImageSet set = load_image_set(config);
  EXPECT_TRUE(at::equal(set.images, images.permute({0, 3, 1, 2})));
  EXPECT_TRUE(set.images.is_contiguous());
  EXPECT_TRUE(at::equal(set.labels, at::tensor({2, 0}, at::kLong)));
  EXPECT_THAT(set.class_names, ElementsAre("0", "1", "2"));
  config.max_images = 1;
  EXPECT_EQ(load_image_set(config).images.size(0), 1);
  write_npz(folder / "grey.npz", {{"arr_0", images.slice(3, 0, 1)}});
  const ImageSet grey = load_image_set(testing::config_for(folder / "grey.npz"));
  EXPECT_EQ(grey.images.sizes(), at::IntArrayRef({2, 1, 4, 4}));
  EXPECT_THAT(grey.class_names, IsEmpty());
}

TEST(NpzImagesTest, OtherArraysAreRefused) {
  const ScratchFolder folder;
  const Tensor images = at::zeros({2, 4, 4, 3}, at::kByte);
  const auto refusal = [&](const std::vector<std::pair<std::string, Tensor>>& arrays) {
    write_npz(folder / "x.npz", arrays);
    return message_of<std::runtime_error>(
        [&] { load_image_set(testing::config_for(folder / "x.npz")); });
  };
  EXPECT_THAT(refusal({{"images", images}}), HasSubstr("expected an array arr_0 of images"));
  EXPECT_THAT(refusal({{"arr_0", images.to(at::kFloat)}}), HasSubstr("expected uint8 images"));
  EXPECT_THAT(refusal({{"arr_0", images.permute({0, 3, 1, 2})}}), HasSubstr("[N, H, W, 1 or 3]"));
  EXPECT_THAT(refusal({{"arr_0", images.slice(0, 0, 0)}}), HasSubstr("expected uint8 images"));
  EXPECT_THAT(refusal({{"arr_0", images}, {"arr_1", at::zeros({1}, at::kLong)}}),
              HasSubstr("arr_1: expected a label of int64 for each of 2 images"));
  EXPECT_THAT(refusal({{"arr_0", images}, {"arr_1", at::zeros({3}, at::kLong)}}),
              HasSubstr("for each of 2 images, got shape [3]"));
  EXPECT_THAT(refusal({{"arr_0", images}, {"arr_1", at::full({2}, -1, at::kLong)}}),
              HasSubstr("expected labels from 0"));
}

}  // namespace
}  // namespace ddpm
