#include "ddpm/data/image_orientation.h"

#include <algorithm>
#include <cstddef>
#include <utility>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

constexpr uint64_t kOrientationTag = 0x0112;
constexpr uint64_t kShortType = 3;
constexpr size_t kEntryBytes = 12;

/// An unsigned number of `size` bytes; the caller has checked that they are there.
uint64_t read_number(std::span<const uint8_t> bytes, size_t offset, size_t size, bool big_endian) {
  uint64_t value = 0;
  for (size_t i = 0; i < size; ++i) {
    const size_t place = big_endian ? i : size - 1 - i;
    value = value << 8 | bytes[offset + place];
  }
  return value;
}

}  // namespace

int exif_orientation(std::span<const uint8_t> tiff) {
  constexpr int kAsStored = 1;
  constexpr size_t kHeaderBytes = 8;
  if (tiff.size() < kHeaderBytes || tiff[0] != tiff[1]) return kAsStored;
  const bool big_endian = tiff[0] == 'M';
  if (!big_endian && tiff[0] != 'I') return kAsStored;
  if (read_number(tiff, 2, 2, big_endian) != 42) return kAsStored;

  const size_t directory = read_number(tiff, 4, 4, big_endian);
  if (directory + 2 > tiff.size()) return kAsStored;
  const size_t count = read_number(tiff, directory, 2, big_endian);
  for (size_t i = 0; i < count; ++i) {
    const size_t entry = directory + 2 + i * kEntryBytes;
    if (entry + kEntryBytes > tiff.size()) return kAsStored;
    if (read_number(tiff, entry, 2, big_endian) != kOrientationTag) continue;
    const bool is_short = read_number(tiff, entry + 2, 2, big_endian) == kShortType;
    const uint64_t value = read_number(tiff, entry + 8, 2, big_endian);
    return is_short && value >= 1 && value <= 8 ? static_cast<int>(value) : kAsStored;
  }
  return kAsStored;
}

Image orient_image(Image image, int orientation) {
  check_arg(orientation >= 1 && orientation <= 8,
            "[orient_image] orientation: expected 1 to 8, got ", orientation);
  if (orientation == 1) return image;
  const bool transpose = orientation >= 5;
  const bool from_right =
      orientation == 2 || orientation == 3 || orientation == 7 || orientation == 8;
  const bool from_bottom =
      orientation == 3 || orientation == 4 || orientation == 6 || orientation == 7;

  Image turned = transpose ? Image::filled(image.height, image.width, image.channels)
                           : Image::filled(image.width, image.height, image.channels);
  for (int64_t y = 0; y < turned.height; ++y) {
    for (int64_t x = 0; x < turned.width; ++x) {
      int64_t from_x = x;
      int64_t from_y = y;
      if (transpose) std::swap(from_x, from_y);
      if (from_right) from_x = image.width - 1 - from_x;
      if (from_bottom) from_y = image.height - 1 - from_y;
      std::copy_n(image.at(from_x, from_y), image.channels, turned.at(x, y));
    }
  }
  return turned;
}

}  // namespace ddpm
