#include "ddpm/data/npz.h"

#include <limits>
#include <zlib.h>

#include "ddpm/core/check.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

using Bytes = std::vector<uint8_t>;

constexpr size_t kReserve = size_t{1} << 20;

void append(Bytes& out, const std::string& text) {
  out.insert(out.end(), text.begin(), text.end());
}

template <typename Int>
void append_little_endian(Bytes& out, Int value) {
  for (size_t byte = 0; byte < sizeof(Int); ++byte) {
    out.push_back(static_cast<uint8_t>((value >> (8 * byte)) & 0xff));
  }
}

std::string numpy_dtype(at::ScalarType type) {
  switch (type) {
    case at::kByte:
      return "|u1";
    case at::kLong:
      return "<i8";
    case at::kFloat:
      return "<f4";
    case at::kDouble:
      return "<f8";
    default:
      throw std::invalid_argument(
          c10::str("[encode_npz] dtype: expected uint8, int64, float32 or "
                   "float64, got ",
                   type));
  }
}

/// NPY format 1.0: magic, header length, a Python dict padded to 64 bytes, then the data.
Bytes npy_bytes(const Tensor& array) {
  const Tensor data = array.contiguous();
  std::string shape;
  for (const int64_t size : data.sizes()) shape += std::to_string(size) + ",";
  std::string header = "{'descr': '" + numpy_dtype(data.scalar_type()) +
                       "', 'fortran_order': False, 'shape': (" + shape + "), }";
  constexpr size_t kPrefix = 10;
  header.resize((kPrefix + header.size() + 1 + 63) / 64 * 64 - kPrefix - 1, ' ');
  header += '\n';

  Bytes out{0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0};
  append_little_endian(out, static_cast<uint16_t>(header.size()));
  append(out, header);
  const auto* bytes = static_cast<const uint8_t*>(data.const_data_ptr());
  out.insert(out.end(), bytes, bytes + data.nbytes());
  return out;
}

struct WrittenEntry {
  std::string name;
  uint32_t crc = 0;
  uint32_t size = 0;
  uint32_t offset = 0;
};

/// The fields that the local and the central header share, from "version needed" to "extra length".
void append_entry_fields(Bytes& out, const WrittenEntry& entry) {
  append_little_endian<uint16_t>(out, 20);      // version 2.0
  append_little_endian<uint16_t>(out, 0);       // flags
  append_little_endian<uint16_t>(out, 0);       // stored
  append_little_endian<uint16_t>(out, 0);       // time 00:00
  append_little_endian<uint16_t>(out, 0x0021);  // date 1980-01-01
  append_little_endian(out, entry.crc);
  append_little_endian(out, entry.size);
  append_little_endian(out, entry.size);
  append_little_endian(out, static_cast<uint16_t>(entry.name.size()));
  append_little_endian<uint16_t>(out, 0);
}

void append_central_directory(Bytes& out, const std::vector<WrittenEntry>& entries) {
  const auto start = static_cast<uint32_t>(out.size());
  for (const WrittenEntry& entry : entries) {
    append_little_endian<uint32_t>(out, 0x02014b50);
    append_little_endian<uint16_t>(out, 20);
    append_entry_fields(out, entry);
    append_little_endian<uint16_t>(out, 0);  // comment
    append_little_endian<uint16_t>(out, 0);  // disk
    append_little_endian<uint16_t>(out, 0);  // internal attributes
    append_little_endian<uint32_t>(out, 0);  // external attributes
    append_little_endian(out, entry.offset);
    append(out, entry.name);
  }
  const auto size = static_cast<uint32_t>(out.size() - start);
  append_little_endian<uint32_t>(out, 0x06054b50);
  append_little_endian<uint32_t>(out, 0);  // disks
  append_little_endian(out, static_cast<uint16_t>(entries.size()));
  append_little_endian(out, static_cast<uint16_t>(entries.size()));
  append_little_endian(out, size);
  append_little_endian(out, start);
  append_little_endian<uint16_t>(out, 0);
}

}  // namespace

std::vector<uint8_t> encode_npz(const NamedArrays& arrays) {
  Bytes out;
  std::vector<WrittenEntry> entries;
  for (const auto& [name, array] : arrays) {
    // Beside the data, headers and the central directory take less than kReserve.
    check_arg(out.size() + array.nbytes() < std::numeric_limits<uint32_t>::max() - kReserve,
              "[encode_npz] expected less than 4 GiB in all, got more with '", name, "'");
    const Bytes npy = npy_bytes(array);
    const uLong crc = crc32_z(crc32(0, nullptr, 0), npy.data(), npy.size());
    entries.push_back({.name = name + ".npy",
                       .crc = static_cast<uint32_t>(crc),
                       .size = static_cast<uint32_t>(npy.size()),
                       .offset = static_cast<uint32_t>(out.size())});
    append_little_endian<uint32_t>(out, 0x04034b50);
    append_entry_fields(out, entries.back());
    append(out, entries.back().name);
    out.insert(out.end(), npy.begin(), npy.end());
  }
  append_central_directory(out, entries);
  return out;
}

void write_npz(const std::filesystem::path& path, const NamedArrays& arrays) {
  write_file_atomic(path, encode_npz(arrays));
}

}  // namespace ddpm
