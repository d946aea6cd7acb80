#include "ddpm/data/npz.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <system_error>
#include <zlib.h>

#include "data/scratch_folder.h"
#include "ddpm/core/file.h"
#include "support/run_python.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using ::testing::HasSubstr;
using testing::message_of;
using testing::ScratchFolder;

using Bytes = std::vector<uint8_t>;
using Arrays = std::vector<std::pair<std::string, Tensor>>;

uint64_t little_endian(const Bytes& bytes, size_t at, size_t count) {
  uint64_t value = 0;
  for (size_t i = count; i-- > 0;) value = value << 8 | bytes.at(at + i);
  return value;
}

/// A local entry of a zip: its name, its checksum and its stored bytes.
struct LocalEntry {
  std::string name;
  uint64_t crc = 0;
  Bytes content;
  size_t end = 0;  ///< where the next one begins
};

LocalEntry read_entry(const Bytes& zip, size_t at) {
  EXPECT_EQ(little_endian(zip, at, 4), 0x04034b50U) << "PK\\3\\4";
  EXPECT_EQ(little_endian(zip, at + 8, 2), 0U) << "stored";
  EXPECT_EQ(little_endian(zip, at + 18, 4), little_endian(zip, at + 22, 4)) << "sizes";
  const size_t size = little_endian(zip, at + 22, 4);
  const size_t name_size = little_endian(zip, at + 26, 2);
  const size_t begin = at + 30 + name_size + little_endian(zip, at + 28, 2);
  const auto name = zip.begin() + static_cast<std::ptrdiff_t>(at) + 30;
  const auto first = zip.begin() + static_cast<std::ptrdiff_t>(begin);
  return {.name = std::string(name, name + static_cast<std::ptrdiff_t>(name_size)),
          .crc = little_endian(zip, at + 14, 4),
          .content = Bytes(first, first + static_cast<std::ptrdiff_t>(size)),
          .end = begin + size};
}

/// The text between the 10 bytes in front and the data of a .npy file.
std::string npy_header(const Bytes& npy) {
  return {npy.begin() + 10,
          npy.begin() + 10 + static_cast<std::ptrdiff_t>(little_endian(npy, 8, 2))};
}

Bytes written(const fs::path& path, const Arrays& arrays) {
  write_npz(path, arrays);
  return read_binary_file(path);
}

TEST(NpzTest, NumPyReadsEveryTypeAndShape) {
  const ScratchFolder folder;
  const Tensor wide = at::arange(24, at::kLong).view({2, 3, 4});
  write_npz(folder / "a.npz",
            {{"bytes", at::arange(250, 256, at::kLong).to(at::kByte).view({1, 2, 3})},
             {"longs", at::tensor({int64_t{-1} << 62, int64_t{5}}, at::kLong)},
             {"floats", at::tensor({0.1F, -2.5e30F})},
             {"doubles", at::tensor({0.1, 1e-300})},
             {"scalar", at::scalar_tensor(7, at::kLong)},
             {"empty", at::empty({0, 3}, at::kFloat)},
             {"permuted", wide.permute({2, 0, 1})}});
  testing::write_text(folder / "check.py", R"(
import sys, zipfile, numpy as np
assert zipfile.ZipFile(sys.argv[1]).testzip() is None
a = np.load(sys.argv[1], allow_pickle=False)
expected = {
    "bytes": np.arange(250, 256).astype("|u1").reshape(1, 2, 3),
    "longs": np.array([-2**62, 5], "<i8"),
    "floats": np.array([0.1, -2.5e30], "<f4"),
    "doubles": np.array([0.1, 1e-300], "<f8"),
    "scalar": np.array(7, "<i8"),
    "empty": np.empty((0, 3), "<f4"),
    "permuted": np.arange(24, dtype="<i8").reshape(2, 3, 4).transpose(2, 0, 1),
}
assert a.files == list(expected), a.files
for name, array in expected.items():
    assert a[name].dtype == array.dtype, (name, a[name].dtype)
    assert a[name].shape == array.shape, (name, a[name].shape)
    np.testing.assert_array_equal(a[name], array, err_msg=name)
)");
  testing::run_python({folder / "check.py", folder / "a.npz"});
}

TEST(NpzTest, EntriesAreStoredWithTheirChecksums) {
  const ScratchFolder folder;
  const Bytes zip = written(folder / "a.npz", {{"arr_0", at::zeros({3}, at::kByte)},
                                               {"arr_1", at::ones({2}, at::kLong)}});
  const LocalEntry first = read_entry(zip, 0);
  const LocalEntry second = read_entry(zip, first.end);
  EXPECT_EQ(first.name, "arr_0.npy");
  EXPECT_EQ(second.name, "arr_1.npy");
  for (const LocalEntry& entry : {first, second}) {
    EXPECT_EQ(entry.crc, crc32(0, entry.content.data(), static_cast<uInt>(entry.content.size())));
  }
  const size_t end = zip.size() - 22;  // of the central directory: no comment follows
  EXPECT_EQ(little_endian(zip, end, 4), 0x06054b50U) << "PK\\5\\6";
  EXPECT_EQ(little_endian(zip, end + 10, 2), 2U) << "entries";
  EXPECT_EQ(little_endian(zip, end + 16, 4), second.end) << "offset of the central directory";
  EXPECT_EQ(little_endian(zip, second.end, 4), 0x02014b50U) << "PK\\1\\2";
}

TEST(NpzTest, DataBeginsAtAMultipleOf64) {
  const ScratchFolder folder;
  // Shapes whose texts have every length from 2 characters on, past the next multiple of 64.
  for (int64_t dims = 0; dims < 40; ++dims) {
    const Tensor array = at::full(std::vector<int64_t>(static_cast<size_t>(dims), 1), 9, at::kByte);
    const Bytes npy = read_entry(written(folder / "a.npz", {{"a", array}}), 0).content;
    EXPECT_EQ(Bytes(npy.begin(), npy.begin() + 8), (Bytes{0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0}));
    const std::string header = npy_header(npy);
    EXPECT_EQ((10 + header.size()) % 64, 0U) << dims;
    EXPECT_EQ(header.back(), '\n');
    ASSERT_EQ(npy.size(), 10 + header.size() + 1);
    EXPECT_EQ(npy.back(), 9);
  }
}

TEST(NpzTest, HeadersSayTypeOrderAndShape) {
  const ScratchFolder folder;
  const Bytes npy =
      read_entry(written(folder / "a.npz", {{"a", at::zeros({5, 8, 8, 1}, at::kByte)}}), 0).content;
  EXPECT_THAT(npy_header(npy),
              HasSubstr("{'descr': '|u1', 'fortran_order': False, 'shape': (5,8,8,1,), }"));
}

TEST(NpzTest, TheSameArraysGiveTheSameBytes) {
  const ScratchFolder folder;
  const Arrays arrays{{"arr_0", at::arange(100, at::kDouble)}};
  EXPECT_EQ(written(folder / "a.npz", arrays), written(folder / "b.npz", arrays));
}

TEST(NpzTest, WithoutArraysTheFileIsAnEmptyZip) {
  const ScratchFolder folder;
  EXPECT_EQ(written(folder / "a.npz", {}).size(), 22U);
}

TEST(NpzTest, RefusesOtherTypesAndLeavesNothing) {
  const ScratchFolder folder;
  for (const at::ScalarType type : {at::kBFloat16, at::kHalf, at::kInt, at::kBool}) {
    const std::string message = message_of<std::invalid_argument>([&] {
      write_npz(folder / "a.npz", {{"a", at::zeros({2}, at::TensorOptions(type))}});
    });
    EXPECT_THAT(message,
                HasSubstr("[encode_npz] dtype: expected uint8, int64, float32 or float64"));
    EXPECT_THAT(message, HasSubstr(c10::toString(type)));
  }
  EXPECT_FALSE(fs::exists(folder / "a.npz"));
}

TEST(NpzTest, RefusesFourGigabytes) {
  const ScratchFolder folder;
  const Tensor huge = at::zeros({1}, at::kByte).expand({int64_t{1} << 32});  // one byte of memory
  EXPECT_THAT(message_of<std::invalid_argument>([&] {
                write_npz(folder / "a.npz", {{"a", huge}});
              }),
              HasSubstr("expected less than 4 GiB in all, got more with 'a'"));
}

TEST(NpzTest, NamesAFileThatCannotBeWritten) {
  const ScratchFolder folder;
  const Arrays arrays{{"a", at::zeros({2}, at::kByte)}};
  EXPECT_THAT(
      message_of<std::system_error>([&] { write_npz(folder / "absent" / "a.npz", arrays); }),
      HasSubstr("absent/a.npz"));
}

}  // namespace
}  // namespace ddpm
