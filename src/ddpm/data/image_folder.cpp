#include "ddpm/data/image_folder.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <iterator>
#include <sstream>

#include "ddpm/core/check.h"
#include "ddpm/core/file.h"
#include "ddpm/data/image_folder_decoder.h"
#include "ddpm/data/image_header.h"
#include "ddpm/data/packed_cache.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kBlockFiles = 4096;

/// Stops at the first colour picture; unreadable files have no say.
int64_t find_channels(const ImageFolderFiles& files) {
  int64_t grey = 0;
  for (const fs::path& path : files.paths) {
    const auto channels = read_image_channels(path);
    if (channels == 3) return 3;
    if (channels == 1) ++grey;
  }
  return grey > 0 ? 1 : 3;
}

void check_some_left(int64_t kept, const std::vector<std::string>& skipped) {
  check_state(kept > 0, "[load_image_folder] expected at least one image that can be decoded, got ",
              skipped.size(),
              " damaged ones, the first: ", skipped.empty() ? std::string() : skipped.front());
}

ImageSet load_in_memory(const ImageFolderFiles& files, const DataConfig& config) {
  const auto count = static_cast<int64_t>(files.paths.size());
  DecodedFiles decoded = decode_files(files, 0, count, config);
  check_some_left(decoded.labels.size(0), decoded.skipped);
  return {.images = decoded.images,
          .labels = decoded.labels,
          .class_names = files.class_names,
          .name = config.path,
          .skipped = decoded.skipped};
}

/// In blocks, so that memory does not grow with the set.
ImageSet fill_cache(const ImageFolderFiles& files, const DataConfig& config,
                    PackedCacheWriter& writer) {
  const auto count = static_cast<int64_t>(files.paths.size());
  ImageSet about{.class_names = files.class_names, .name = config.path};
  int64_t kept = 0;
  for (int64_t first = 0; first < count; first += kBlockFiles) {
    DecodedFiles block = decode_files(files, first, std::min(kBlockFiles, count - first), config);
    writer.append(block.images, block.labels);
    kept += block.labels.size(0);
    std::move(block.skipped.begin(), block.skipped.end(), std::back_inserter(about.skipped));
  }
  check_some_left(kept, about.skipped);
  return about;
}

/// What the pixels depend on, besides the files.
std::string describe_options(const DataConfig& config) {
  std::ostringstream text;
  text << fs::canonical(config.path).string() << '\n'
       << static_cast<int>(config.split) << ' ' << config.held_out_fraction << '\n'
       << config.image_size << ' ' << config.channels << ' ' << config.max_images << ' '
       << static_cast<int>(config.fit) << ' ' << static_cast<int>(config.filter) << ' '
       << static_cast<int>(config.on_damaged) << ' ' << config.max_pixels << '\n';
  return text.str();
}

/// Each file by name, size and time of change. A file that can't be looked at counts as empty.
std::string make_cache_key(const ImageFolderFiles& files, const DataConfig& config) {
  Sha256 digest;
  const auto add = [&digest](const std::string& text) {
    digest.update({reinterpret_cast<const uint8_t*>(text.data()), text.size()});
  };
  add(describe_options(config));
  for (const fs::path& path : files.paths) {
    std::error_code absent;
    const auto size = fs::file_size(path, absent);
    const auto changed = fs::last_write_time(path, absent).time_since_epoch();
    const auto nanoseconds = std::chrono::duration_cast<std::chrono::nanoseconds>(changed).count();
    add(path.lexically_relative(config.path).string() + '\0' + std::to_string(absent ? 0 : size) +
        ' ' + std::to_string(absent ? 0 : nanoseconds) + '\n');
  }
  return digest.finish_hex();
}

fs::path cache_path(const DataConfig& config) {
  constexpr size_t kDigits = 16;
  const fs::path folder = fs::canonical(config.path);
  const fs::path cache_dir =
      config.cache_dir.empty() ? folder.parent_path() / ".ddpm-cache" : fs::path(config.cache_dir);
  const std::string digest = sha256_hex(std::string_view(describe_options(config)));
  return cache_dir / (folder.filename().string() + "-" + digest.substr(0, kDigits) + ".pack");
}

ImageSet load_from_cache(const ImageFolderFiles& files, const DataConfig& config,
                         uint64_t pixel_bytes) {
  const fs::path path = cache_path(config);
  ImageSet set = load_through_packed_cache(path, make_cache_key(files, config), [&](auto& writer) {
    const uint64_t free_bytes = free_disk_bytes(path.parent_path());
    check_state(free_bytes > pixel_bytes, "[load_image_folder] disk space for '", path.string(),
                "': expected ", pixel_bytes >> 20, " MiB, got ", free_bytes >> 20,
                " MiB (data.cache_dir may name another folder)");
    return fill_cache(files, config, writer);
  });
  set.name = config.path;  // the cache may have been made under another spelling of the path
  return set;
}

}  // namespace

ImageSet load_image_folder(const DataConfig& config) {
  check_arg(config.image_size > 0,
            "[load_image_folder] data.image_size: expected at least 1 for a "
            "folder of images, got ",
            config.image_size);
  ImageFolderFiles files = select_split(list_image_folder(config.path), config.path, config.split,
                                        config.held_out_fraction);
  check_arg(!files.paths.empty(), "[load_image_folder] '", config.path,
            "': expected a file on the ", enum_word(config.split),
            " side of data.held_out_fraction = ", config.held_out_fraction, ", got none");
  const auto found = static_cast<int64_t>(files.paths.size());
  const auto used =
      static_cast<size_t>(config.max_images > 0 ? std::min(config.max_images, found) : found);
  files.paths.resize(used);
  files.labels.resize(used);
  DataConfig resolved = config;
  if (config.channels == 0) resolved.channels = find_channels(files);
  const int64_t image_bytes = resolved.channels * config.image_size * config.image_size;
  const auto pixel_bytes = static_cast<uint64_t>(image_bytes) * used;
  if (pixel_bytes >> 20 < static_cast<uint64_t>(config.cache_above_mib)) {
    return load_in_memory(files, resolved);
  }
  return load_from_cache(files, resolved, pixel_bytes);
}

}  // namespace ddpm
