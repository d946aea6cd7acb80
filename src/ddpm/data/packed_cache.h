#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "ddpm/data/image_set.h"

namespace ddpm {

// A packed cache holds a decoded image set in one file that is mapped, not read, so that sets
// larger than memory work and a second start is quick. Layout, little-endian:
//
//     byte 0     "DDPMPACK", uint32 version, uint32 CRC-32 of the pixels,
//                uint64 offset and size of the pixels, of the labels and of the JSON (three pairs)
//     byte 4096  pixels, [N, C, H, W] uint8
//     then       labels, N int64 (aligned to 8 bytes)
//     then       JSON: key, shape, class_names, name, skipped, CRC-32 of the labels
//
// The key is a digest of everything that the pixels depend on; another key makes the file stale.

/// Appends images to a packed cache under a temporary name; finish() puts it in place, whole.
/// Without finish() nothing stays behind.
class PackedCacheWriter {
 public:
  /// @throws std::runtime_error if the folder can't be made or written.
  explicit PackedCacheWriter(std::filesystem::path path);
  ~PackedCacheWriter();
  PackedCacheWriter(const PackedCacheWriter&) = delete;
  PackedCacheWriter& operator=(const PackedCacheWriter&) = delete;

  /// @param images [n, C, H, W] uint8, the same C, H, W each time; @param labels [n] int64.
  void append(const Tensor& images, const Tensor& labels);

  /// Writes labels and header, syncs, and renames. `about` gives class_names, name and skipped.
  void finish(const std::string& key, const ImageSet& about);

 private:
  void write(const void* bytes, size_t size);

  std::filesystem::path path_;
  std::filesystem::path partial_path_;
  int file_ = -1;
  uint64_t written_bytes_ = 0;
  uint64_t pixel_bytes_ = 0;
  uint32_t pixel_crc_ = 0;
  std::vector<int64_t> shape_;
  std::vector<int64_t> labels_;
};

/// Maps a packed cache. Its images live as long as a tensor uses them, and must not be written to.
/// Nothing if the file is absent, stale (another key) or damaged (lengths and CRC-32 are checked).
std::optional<ImageSet> read_packed_cache(const std::filesystem::path& path,
                                          const std::string& key);

/// Returns the set from the cache file, or calls `fill` to write it first. A lock file beside it
/// lets one process build while the others wait, then read.
ImageSet load_through_packed_cache(const std::filesystem::path& path, const std::string& key,
                                   const std::function<ImageSet(PackedCacheWriter&)>& fill);

}  // namespace ddpm
