#include "ddpm/data/npz_reader.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <charconv>
#include <cstring>
#include <limits>
#include <span>
#include <string_view>

#include "ddpm/core/check.h"
#include "ddpm/core/file.h"
#include "ddpm/core/one_line.h"
#include "ddpm/core/zip_archive.h"

namespace ddpm {
namespace {

using NpyBytes = std::span<const uint8_t>;

template <typename... Parts>
void check_npy(bool ok, const std::string& where, const Parts&... parts) {
  check_state(ok, "[read_npz] ", where, ": ", parts...);
}

struct NpyLayout {
  std::string header;
  size_t data_offset = 0;
};

/// Magic, version, length of the header, header [NEP 1].
NpyLayout read_npy_layout(NpyBytes bytes, const std::string& where) {
  constexpr std::string_view kMagic = "\x93NUMPY";
  constexpr size_t kPrefix = 8;
  const bool is_npy = bytes.size() > kPrefix + 4 &&
                      std::equal(kMagic.begin(), kMagic.end(), bytes.begin(),
                                 [](char a, uint8_t b) { return static_cast<uint8_t>(a) == b; });
  check_npy(is_npy && (bytes[6] == 1 || bytes[6] == 2), where,
            "expected a .npy array of format 1 or 2, got other bytes");
  const size_t length_bytes = bytes[6] == 1 ? 2 : 4;
  size_t length = 0;
  for (size_t i = 0; i < length_bytes; ++i) length |= size_t{bytes[kPrefix + i]} << (8 * i);
  const size_t begin = kPrefix + length_bytes;
  check_npy(length <= bytes.size() - begin, where, "expected a header of at most ",
            bytes.size() - begin, " bytes, got ", length);
  return {.header = std::string(bytes.begin() + static_cast<std::ptrdiff_t>(begin),
                                bytes.begin() + static_cast<std::ptrdiff_t>(begin + length)),
          .data_offset = begin + length};
}

/// What stands behind 'key': in the header's dict.
std::string_view value_of(const std::string& header, const std::string& key,
                          const std::string& where) {
  const size_t at = header.find("'" + key + "':");
  check_npy(at != std::string::npos, where, "expected '", key, "' in the header, got '",
            one_line(header), "'");
  std::string_view value = std::string_view(header).substr(at + key.size() + 3);
  value.remove_prefix(std::min(value.find_first_not_of(' '), value.size()));
  return value;
}

at::ScalarType dtype_of(const std::string& header, const std::string& where) {
  const std::string_view value = value_of(header, "descr", where);
  const std::string_view word = value.substr(0, std::min(value.find(','), value.size()));
  if (word == "'|u1'") return at::kByte;
  if (word == "'<i8'") return at::kLong;
  if (word == "'<f4'") return at::kFloat;
  if (word == "'<f8'") return at::kDouble;
  check_npy(false, where, "dtype: expected uint8, int64, float32 or float64, got ",
            one_line(std::string(word)));
  return at::kByte;
}

std::vector<int64_t> shape_of(const std::string& header, const std::string& where) {
  std::string_view value = value_of(header, "shape", where);
  const size_t end = value.find(')');
  check_npy(value.starts_with('(') && end != std::string_view::npos, where,
            "expected a shape in brackets, got '", one_line(std::string(value)), "'");
  value = value.substr(1, end - 1);
  std::vector<int64_t> shape;
  while (true) {
    value.remove_prefix(std::min(value.find_first_not_of(", "), value.size()));
    if (value.empty()) return shape;
    int64_t size = -1;
    const auto [rest, error] = std::from_chars(value.data(), value.data() + value.size(), size);
    check_npy(error == std::errc() && size >= 0, where, "expected sizes in the shape, got '",
              one_line(std::string(value)), "'");
    shape.push_back(size);
    value.remove_prefix(static_cast<size_t>(rest - value.data()));
  }
}

/// Bytes of an array, or more than any file has where they overflow.
uint64_t count_bytes_of(const std::vector<int64_t>& shape, uint64_t element_bytes) {
  constexpr uint64_t kMost = std::numeric_limits<uint64_t>::max();
  uint64_t bytes = element_bytes;
  for (const int64_t size : shape) {
    const auto wide = static_cast<uint64_t>(size);
    if (wide != 0 && bytes > kMost / wide) return kMost;
    bytes *= wide;
  }
  return bytes;
}

Tensor read_npy(NpyBytes bytes, const std::string& where) {
  const NpyLayout layout = read_npy_layout(bytes, where);
  const at::ScalarType dtype = dtype_of(layout.header, where);
  const std::vector<int64_t> shape = shape_of(layout.header, where);
  const bool c_order = value_of(layout.header, "fortran_order", where).starts_with("False");
  check_npy(c_order || shape.size() < 2, where, "expected C order, got Fortran order");
  const NpyBytes data = bytes.subspan(layout.data_offset);
  const uint64_t expected = count_bytes_of(shape, at::elementSize(dtype));
  check_npy(data.size() == expected, where, "expected ", expected, " bytes of data, got ",
            data.size());
  Tensor array = at::empty(shape, at::TensorOptions(dtype));
  if (!data.empty()) std::memcpy(array.mutable_data_ptr(), data.data(), data.size());
  return array;
}

}  // namespace

std::map<std::string, Tensor> read_npz(const std::filesystem::path& path,
                                       const std::vector<std::string>& names) {
  const MappedFile file(path);
  check_state(is_zip(file.bytes()), "[read_npz] '", path.string(),
              "': expected an .npz file, got other bytes");
  const ZipDirectory directory = read_zip_directory(file.bytes(), path.string());
  std::map<std::string, Tensor> arrays;
  for (const std::string& name : names) {
    const std::string entry = name + ".npy";
    if (!directory.entries.contains(entry)) continue;
    arrays[name] = read_npy(zip_entry_bytes(file.bytes(), directory, entry, path.string()),
                            "'" + path.string() + "' " + name);
  }
  return arrays;
}

}  // namespace ddpm
