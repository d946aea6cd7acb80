#include "ddpm/data/packed_cache.h"

#include <ATen/ATen.h>
#include <nlohmann/json.hpp>

#include <bit>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/file.h>
#include <system_error>
#include <unistd.h>
#include <zlib.h>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

constexpr std::string_view kMagic = "DDPMPACK";
constexpr uint32_t kVersion = 1;
constexpr uint64_t kPixelsOffset = 4096;
constexpr uint64_t kAlignment = 8;
static_assert(sizeof(PackedFooter) == 64 && std::is_trivially_copyable_v<PackedFooter>);
static_assert(std::endian::native == std::endian::little, "the file is written as memory lies");

template <typename T>
std::span<const uint8_t> bytes_of(const T* values, size_t count) {
  return {reinterpret_cast<const uint8_t*>(values), count * sizeof(T)};
}

uint32_t crc_of(std::span<const uint8_t> bytes, uint32_t start = 0) {
  if (bytes.empty()) return start;  // zlib would start anew for a null pointer
  return static_cast<uint32_t>(crc32_z(start, bytes.data(), bytes.size()));
}

uint32_t crc_of_footer(const PackedFooter& footer) {
  return crc_of(bytes_of(&footer, 1).first(sizeof(footer) - sizeof(footer.footer_crc)));
}

std::vector<uint8_t> file_header() {
  std::vector<uint8_t> header(kPixelsOffset, 0);
  std::memcpy(header.data(), kMagic.data(), kMagic.size());
  std::memcpy(header.data() + kMagic.size(), &kVersion, sizeof(kVersion));
  return header;
}

/// The section's bytes if it lies within the file and has this checksum.
std::optional<std::span<const uint8_t>> checked_section(const MappedFile& file,
                                                        PackedSection section, uint32_t crc) {
  if (section.offset > file.size() || section.size_bytes > file.size() - section.offset) return {};
  const auto bytes = file.bytes().subspan(section.offset, section.size_bytes);
  if (crc_of(bytes) != crc) return {};
  return bytes;
}

bool has_file_header(const MappedFile& file) {
  if (file.size() < kPixelsOffset + sizeof(PackedFooter)) return false;
  const std::vector<uint8_t> header = file_header();
  return std::memcmp(file.data(), header.data(), header.size()) == 0;
}

bool shape_fits(const std::vector<int64_t>& shape, uint64_t pixel_bytes, uint64_t label_bytes) {
  if (shape.size() != 4) return false;
  uint64_t left = pixel_bytes;
  for (const int64_t side : shape) {
    if (side < 1 || left % static_cast<uint64_t>(side) != 0) return false;
    left /= static_cast<uint64_t>(side);
  }
  return left == 1 && label_bytes == static_cast<uint64_t>(shape[0]) * sizeof(int64_t);
}

ImageSet map_images(std::shared_ptr<MappedFile> file, const PackedFooter& footer,
                    const nlohmann::json& json, const std::vector<int64_t>& shape) {
  ImageSet set{.class_names = json.at("class_names").get<std::vector<std::string>>(),
               .name = json.at("name").get<std::string>(),
               .skipped = json.at("skipped").get<std::vector<std::string>>()};
  set.labels = at::empty({shape[0]}, at::kLong);
  std::memcpy(set.labels.mutable_data_ptr<int64_t>(), file->data() + footer.labels.offset,
              footer.labels.size_bytes);
  auto* pixels = const_cast<uint8_t*>(file->data() + footer.pixels.offset);
  set.images = at::from_blob(
      pixels, shape, [file](void*) {}, at::kByte);
  return set;
}

void make_folder(const fs::path& folder) {
  std::error_code error;
  fs::create_directories(folder, error);
  check_state(!error, "[load_through_packed_cache] can't make folder '", folder.string(),
              "' (data.cache_dir may name another): ", error.message());
}

/// An exclusive lock on a file that is made if absent; it stays, empty.
class FileLock {
 public:
  explicit FileLock(const fs::path& path)
      : descriptor_(open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0644)) {
    if (descriptor_ < 0) fail("open", path);
    while (flock(descriptor_, LOCK_EX) != 0) {
      if (errno == EINTR) continue;
      const int error = errno;
      close(descriptor_);
      errno = error;
      fail("lock", path);
    }
  }
  ~FileLock() { close(descriptor_); }
  FileLock(const FileLock&) = delete;
  FileLock& operator=(const FileLock&) = delete;

 private:
  [[noreturn]] static void fail(const char* action, const fs::path& path) {
    throw std::system_error(
        errno, std::generic_category(),
        std::string("[load_through_packed_cache] can't ") + action + " '" + path.string() + "'");
  }

  int descriptor_;
};

}  // namespace

PackedCacheWriter::PackedCacheWriter(const fs::path& path) : file_(path) {
  write(file_header());
  footer_.pixels.offset = kPixelsOffset;
}

void PackedCacheWriter::append(const Tensor& images, const Tensor& labels) {
  check_arg(images.dim() == 4 && images.scalar_type() == at::kByte && images.is_contiguous() &&
                labels.dim() == 1 && labels.size(0) == images.size(0) &&
                labels.scalar_type() == at::kLong && labels.is_contiguous(),
            "[PackedCacheWriter] expected contiguous [N, C, H, W] uint8 images and [N] int64 "
            "labels, got shapes ",
            images.sizes(), " and ", labels.sizes());
  if (shape_.empty()) shape_ = images.sizes().vec();
  check_arg(images.sizes().slice(1) == at::IntArrayRef(shape_).slice(1),
            "[PackedCacheWriter] expected images like ", at::IntArrayRef(shape_), ", got ",
            images.sizes());
  const auto pixels =
      bytes_of(images.const_data_ptr<uint8_t>(), static_cast<size_t>(images.numel()));
  write(pixels);
  footer_.pixels.size_bytes += pixels.size();
  footer_.pixels_crc = crc_of(pixels, footer_.pixels_crc);
  const auto* first = labels.const_data_ptr<int64_t>();
  labels_.insert(labels_.end(), first, first + labels.size(0));
}

void PackedCacheWriter::finish(const std::string& key, const ImageSet& about) {
  check_arg(!labels_.empty(), "[PackedCacheWriter] expected at least one image, got none");
  shape_[0] = static_cast<int64_t>(labels_.size());
  const nlohmann::json json{{"key", key},
                            {"shape", shape_},
                            {"class_names", about.class_names},
                            {"name", about.name},
                            {"skipped", about.skipped}};
  // File names are bytes; those that are no UTF-8 get a replacement character.
  const std::string text = json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
  const auto labels = bytes_of(labels_.data(), labels_.size());
  const auto json_bytes = bytes_of(text.data(), text.size());
  footer_.labels = write_section(labels);
  footer_.json = write_section(json_bytes);
  footer_.labels_crc = crc_of(labels);
  footer_.json_crc = crc_of(json_bytes);
  footer_.footer_crc = crc_of_footer(footer_);
  write(bytes_of(&footer_, 1));
  file_.commit();
}

void PackedCacheWriter::write(std::span<const uint8_t> bytes) {
  file_.write(bytes);
  written_bytes_ += bytes.size();
}

PackedSection PackedCacheWriter::write_section(std::span<const uint8_t> bytes) {
  const std::vector<uint8_t> gap((kAlignment - written_bytes_ % kAlignment) % kAlignment, 0);
  write(gap);
  const PackedSection section{.offset = written_bytes_, .size_bytes = bytes.size()};
  write(bytes);
  return section;
}

std::optional<ImageSet> read_packed_cache(const fs::path& path, const std::string& key) {
  if (!fs::exists(path)) return {};
  auto file = std::make_shared<MappedFile>(path);
  if (!has_file_header(*file)) return {};
  PackedFooter footer;
  std::memcpy(&footer, file->data() + file->size() - sizeof(footer), sizeof(footer));
  if (footer.footer_crc != crc_of_footer(footer)) return {};
  // The key first: a stale file need not be read as a whole.
  const auto text = checked_section(*file, footer.json, footer.json_crc);
  if (!text) return {};
  const auto json = nlohmann::json::parse(text->begin(), text->end(), nullptr, false);
  try {
    if (json.at("key") != key) return {};
    const auto shape = json.at("shape").get<std::vector<int64_t>>();
    if (!shape_fits(shape, footer.pixels.size_bytes, footer.labels.size_bytes)) return {};
    if (!checked_section(*file, footer.labels, footer.labels_crc)) return {};
    if (!checked_section(*file, footer.pixels, footer.pixels_crc)) return {};
    return map_images(std::move(file), footer, json, shape);
  } catch (const nlohmann::json::exception&) {
    return {};
  }
}

ImageSet load_through_packed_cache(const fs::path& path, const std::string& key,
                                   const PackedCacheFill& fill) {
  if (auto set = read_packed_cache(path, key)) return *std::move(set);
  make_folder(fs::absolute(path).parent_path());
  const FileLock lock(path.string() + ".lock");
  if (auto set = read_packed_cache(path, key)) return *std::move(set);
  {
    PackedCacheWriter writer(path);
    const ImageSet about = fill(writer);
    writer.finish(key, about);
  }
  auto set = read_packed_cache(path, key);
  check_state(set.has_value(), "[load_through_packed_cache] expected to read back '", path.string(),
              "', got a damaged file");
  return *std::move(set);
}

}  // namespace ddpm
