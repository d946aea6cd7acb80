#include "ddpm/core/zip_archive.h"

#include <algorithm>
#include <utility>
#include <zlib.h>

#include "ddpm/core/check.h"
#include "ddpm/core/one_line.h"

namespace ddpm {
namespace {

using Bytes = std::span<const std::uint8_t>;

constexpr std::uint32_t kLocalSignature = 0x04034b50;
constexpr std::uint32_t kCentralSignature = 0x02014b50;
constexpr std::uint32_t kEndSignature = 0x06054b50;
constexpr std::uint32_t kEnd64Signature = 0x06064b50;
constexpr std::uint32_t kLocator64Signature = 0x07064b50;
constexpr std::size_t kLocalSize = 30;
constexpr std::size_t kCentralSize = 46;
constexpr std::size_t kEndSize = 22;
constexpr std::size_t kEnd64Size = 56;
constexpr std::size_t kLocator64Size = 20;
constexpr std::size_t kLongestComment = 0xFFFF;
constexpr std::uint16_t kZip64Field = 0x0001;
constexpr std::uint32_t kIn64 = 0xFFFFFFFF;  // the value stands in the zip64 field

template <typename... Parts>
void check_zip(bool ok, const std::string& name, const Parts&... parts) {
  check_state(ok, "[read_zip] '", name, "' ", parts...);
}

/// A little-endian number at `offset`; the caller has checked that it lies within `bytes`.
template <typename Number>
Number number_at(Bytes bytes, std::size_t offset) {
  std::uint64_t value = 0;
  for (std::size_t i = 0; i < sizeof(Number); ++i) {
    value |= std::uint64_t{bytes[offset + i]} << (8 * i);
  }
  return static_cast<Number>(value);
}

std::string_view text_at(Bytes bytes, std::size_t offset, std::size_t size) {
  return {reinterpret_cast<const char*>(bytes.data()) + offset, size};
}

bool has_signature(Bytes file, std::uint64_t offset, std::size_t size, std::uint32_t signature) {
  return offset <= file.size() && file.size() - offset >= size &&
         number_at<std::uint32_t>(file, offset) == signature;
}

/// The record that ends the file: the last one whose comment reaches to the file's end.
std::size_t find_end_record(Bytes file, const std::string& name) {
  const std::size_t farthest = std::min(file.size(), kEndSize + kLongestComment);
  for (std::size_t back = kEndSize; back <= farthest; ++back) {
    const std::size_t offset = file.size() - back;
    if (!has_signature(file, offset, kEndSize, kEndSignature)) continue;
    if (number_at<std::uint16_t>(file, offset + 20) == back - kEndSize) return offset;
  }
  check_zip(false, name, "end of the zip archive: expected its directory, got none: cut short?");
  return 0;
}

struct DirectoryPlace {
  std::uint64_t count = 0;
  std::uint64_t size = 0;
  std::uint64_t offset = 0;
};

DirectoryPlace find_directory(Bytes file, const std::string& name) {
  const std::size_t end = find_end_record(file, name);
  const auto disk = number_at<std::uint16_t>(file, end + 4);
  check_zip(disk == 0 || disk == 0xFFFF, name, "parts of the zip archive: expected one, got more");
  DirectoryPlace place{.count = number_at<std::uint16_t>(file, end + 10),
                       .size = number_at<std::uint32_t>(file, end + 12),
                       .offset = number_at<std::uint32_t>(file, end + 16)};
  std::uint64_t last = end;
  if (end >= kLocator64Size &&
      has_signature(file, end - kLocator64Size, kLocator64Size, kLocator64Signature)) {
    const auto end64 = number_at<std::uint64_t>(file, end - kLocator64Size + 8);
    check_zip(has_signature(file, end64, kEnd64Size, kEnd64Signature), name,
              "end of the zip64 archive: expected its record at byte ", end64, ", got none");
    place = {.count = number_at<std::uint64_t>(file, end64 + 32),
             .size = number_at<std::uint64_t>(file, end64 + 40),
             .offset = number_at<std::uint64_t>(file, end64 + 48)};
    last = end64;
  }
  check_zip(place.offset <= last && place.size <= last - place.offset, name,
            "zip directory: expected it to end by byte ", last, ", got ", place.size,
            " bytes from byte ", place.offset);
  check_zip(place.count <= place.size / kCentralSize, name, "zip directory: expected at most ",
            place.size / kCentralSize, " entries in ", place.size, " bytes, got ", place.count);
  return place;
}

/// The zip64 field among an entry's extra fields; empty if there is none.
Bytes zip64_field(Bytes extra, const std::string& name) {
  constexpr std::size_t kFieldHeader = 4;
  while (extra.size() >= kFieldHeader) {
    const std::size_t size = number_at<std::uint16_t>(extra, 2);
    check_zip(size <= extra.size() - kFieldHeader, name,
              "extra field of a zip entry: expected at most ", extra.size() - kFieldHeader,
              " bytes, got ", size);
    if (number_at<std::uint16_t>(extra, 0) == kZip64Field) return extra.subspan(kFieldHeader, size);
    extra = extra.subspan(kFieldHeader + size);
  }
  return {};
}

/// A size or an offset: the 32-bit value, or the zip64 field's next one where that says so.
std::uint64_t take_size(std::uint32_t value, Bytes& field, const std::string& name) {
  if (value != kIn64) return value;
  check_zip(field.size() >= 8, name, "zip64 field: expected 8 bytes for a size, got ",
            field.size());
  const auto wide = number_at<std::uint64_t>(field, 0);
  field = field.subspan(8);
  return wide;
}

/// Reads the central header at the front of `directory`, and moves on behind it.
std::pair<std::string_view, ZipEntry> take_entry(Bytes& directory, const std::string& name) {
  check_zip(has_signature(directory, 0, kCentralSize, kCentralSignature), name,
            "zip directory: expected one more entry, got other bytes");
  const std::size_t name_size = number_at<std::uint16_t>(directory, 28);
  const std::size_t extra_size = number_at<std::uint16_t>(directory, 30);
  const std::size_t comment_size = number_at<std::uint16_t>(directory, 32);
  check_zip(name_size + extra_size + comment_size <= directory.size() - kCentralSize, name,
            "zip directory: expected at most ", directory.size() - kCentralSize,
            " bytes of an entry's name and fields, got ", name_size + extra_size + comment_size);
  Bytes field = zip64_field(directory.subspan(kCentralSize + name_size, extra_size), name);
  ZipEntry entry;
  entry.encrypted = (number_at<std::uint16_t>(directory, 8) & 1) != 0;
  entry.method = number_at<std::uint16_t>(directory, 10);
  entry.crc32 = number_at<std::uint32_t>(directory, 16);
  // The order in which the zip64 field holds them: uncompressed, compressed, offset.
  entry.size_bytes = take_size(number_at<std::uint32_t>(directory, 24), field, name);
  const auto compressed = take_size(number_at<std::uint32_t>(directory, 20), field, name);
  entry.local_header = take_size(number_at<std::uint32_t>(directory, 42), field, name);
  const std::string_view entry_name = text_at(directory, kCentralSize, name_size);
  check_zip(entry.method != 0 || compressed == entry.size_bytes, name, "zip entry '",
            one_line(std::string(entry_name)), "': expected ", entry.size_bytes,
            " stored bytes, got ", compressed);
  directory = directory.subspan(kCentralSize + name_size + extra_size + comment_size);
  return {entry_name, entry};
}

}  // namespace

bool is_zip(Bytes file) { return has_signature(file, 0, kLocalSize, kLocalSignature); }

ZipDirectory read_zip_directory(Bytes file, const std::string& name) {
  const DirectoryPlace place = find_directory(file, name);
  ZipDirectory result;
  result.end = place.offset;
  Bytes directory = file.subspan(place.offset, place.size);
  for (std::uint64_t i = 0; i < place.count; ++i) {
    const auto added = result.entries.insert(take_entry(directory, name));
    check_zip(added.second, name, "zip directory: expected each name once, got '",
              one_line(std::string(added.first->first)), "' twice");
  }
  check_zip(directory.empty(), name, "zip directory: expected ", place.count, " entries, got ",
            directory.size(), " bytes more");
  return result;
}

Bytes zip_entry_bytes(Bytes file, const ZipDirectory& directory, std::string_view entry_name,
                      const std::string& name) {
  const std::string shown = one_line(std::string(entry_name));
  const auto found = directory.entries.find(entry_name);
  check_zip(found != directory.entries.end(), name, "zip entry: expected '", shown, "', got none");
  const ZipEntry& entry = found->second;
  check_zip(!entry.encrypted, name, "zip entry '", shown,
            "': expected stored bytes, got encrypted ones");
  check_zip(entry.method == 0, name, "zip entry '", shown,
            "': expected stored bytes, got compressed ones (method ", entry.method, ")");
  const std::uint64_t start = entry.local_header;
  check_zip(start < directory.end &&
                has_signature(file.first(directory.end), start, kLocalSize, kLocalSignature),
            name, "zip entry '", shown, "': expected its header at byte ", start, ", got none");
  const std::size_t name_size = number_at<std::uint16_t>(file, start + 26);
  const std::size_t extra_size = number_at<std::uint16_t>(file, start + 28);
  const std::uint64_t left = directory.end - start - kLocalSize;
  check_zip(name_size + extra_size <= left && entry.size_bytes <= left - name_size - extra_size,
            name, "zip entry '", shown, "': expected it to end by byte ", directory.end, ", got ",
            entry.size_bytes, " bytes behind byte ", start);
  check_zip(text_at(file, start + kLocalSize, name_size) == entry_name, name, "zip entry '", shown,
            "': expected its name in its header, got another");
  const Bytes bytes = file.subspan(start + kLocalSize + name_size + extra_size, entry.size_bytes);
  const auto crc = static_cast<std::uint32_t>(crc32_z(0, bytes.data(), bytes.size()));
  check_zip(entry.crc32 == 0 || crc == entry.crc32, name, "zip entry '", shown,
            "': expected the CRC-32 ", entry.crc32, ", got ", crc, ": damaged?");
  return bytes;
}

}  // namespace ddpm
