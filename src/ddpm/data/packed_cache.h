#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "ddpm/core/file.h"
#include "ddpm/data/image_set.h"

namespace ddpm {

// A packed cache holds a decoded image set in one file that is mapped, not read, so that sets
// larger than memory work and a second start is quick. Layout, little-endian:
//
//     byte 0     "DDPMPACK", uint32 version
//     byte 4096  pixels, [N, C, H, W] uint8
//     then       labels, N int64, at a multiple of 8
//     then       JSON: key, shape, class_names, name, skipped
//     last 64    uint64 offset and size of pixels, labels and JSON; uint32 CRC-32 of pixels,
//                labels and JSON, and of the 60 bytes before
//
// What is known only after the last image stands at the end, so that writing never goes back. The
// key is a digest of everything that the pixels depend on; another key makes the file stale.

struct PackedSection {
  uint64_t offset = 0;
  uint64_t size_bytes = 0;
};

struct PackedFooter {
  PackedSection pixels, labels, json;
  uint32_t pixels_crc = 0, labels_crc = 0, json_crc = 0, footer_crc = 0;
};

/// Writes a packed cache part by part. It appears whole in finish(), or not at all.
class PackedCacheWriter {
 public:
  /// @throws std::runtime_error, as every member, if the file can't be written.
  explicit PackedCacheWriter(const std::filesystem::path& path);

  /// @param images [n, C, H, W] uint8, contiguous, the same C, H, W each time; n may be 0.
  /// @param labels [n] int64.
  void append(const Tensor& images, const Tensor& labels);

  /// Writes labels and JSON and puts the file in place. Of `about`, only class_names, name and
  /// skipped are used.
  void finish(const std::string& key, const ImageSet& about);

 private:
  void write(std::span<const uint8_t> bytes);
  PackedSection write_section(std::span<const uint8_t> bytes);

  AtomicFile file_;
  uint64_t written_bytes_ = 0;
  PackedFooter footer_;
  std::vector<int64_t> shape_;
  std::vector<int64_t> labels_;
};

/// Maps a packed cache. Its images live as long as a tensor uses them, and must not be written to.
/// Nothing if the file is absent, stale (another key) or damaged (lengths and CRC-32 are checked,
/// which reads it once).
std::optional<ImageSet> read_packed_cache(const std::filesystem::path& path,
                                          const std::string& key);

/// Writes the images to the cache; returns a set of which finish() takes class_names, name,
/// skipped.
using PackedCacheFill = std::function<ImageSet(PackedCacheWriter&)>;

/// The set in the cache file at `path`, which `fill` makes first if it is absent, stale or damaged.
/// A lock file beside it lets one process work while the others wait for the result.
ImageSet load_through_packed_cache(const std::filesystem::path& path, const std::string& key,
                                   const PackedCacheFill& fill);

}  // namespace ddpm
