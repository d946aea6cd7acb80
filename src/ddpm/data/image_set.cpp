#include "ddpm/data/image_set.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>
#include <filesystem>
#include <stdexcept>

#include "ddpm/core/check.h"
#include "ddpm/data/cifar.h"
#include "ddpm/data/fit.h"
#include "ddpm/data/idx.h"
#include "ddpm/data/image_folder.h"
#include "ddpm/data/npz_images.h"
#include "ddpm/data/shapes.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kMaxImageSize = 16'384;

bool has_idx_images(const fs::path& folder) {
  return std::any_of(fs::directory_iterator(folder), fs::directory_iterator(), [](const auto& e) {
    return e.path().filename().string().find("images-idx3") != std::string::npos;
  });
}

void check_path(const DataConfig& config, DataKind kind) {
  if (kind == DataKind::kShapes) {
    check_arg(config.path.empty(), "[load_image_set] data.path: expected none for shapes, got '",
              config.path, "'");
    return;
  }
  check_arg(fs::exists(config.path), "[load_image_set] data.path: expected a file or folder, got '",
            config.path, "', which is absent");
  const bool folder_wanted = kind != DataKind::kIdx && kind != DataKind::kNpz;
  check_arg(!folder_wanted || fs::is_directory(config.path),
            "[load_image_set] data.path: expected a folder, got file '", config.path, "'");
}

bool holds_images_out(const DataConfig& config, DataKind kind) {
  switch (kind) {
    case DataKind::kIdx:
      return has_idx_test_images(config.path);
    case DataKind::kCifar10:
    case DataKind::kCifar100:
    case DataKind::kShapes:
      return true;
    case DataKind::kFolder:
      return config.held_out_fraction > 0;
    case DataKind::kNpz:
      return false;
    case DataKind::kAuto:
      break;
  }
  throw std::logic_error("[load_image_set] not a DataKind");
}

void check_split(const DataConfig& config, DataKind kind) {
  check_arg(config.held_out_fraction == 0 || kind == DataKind::kFolder,
            "[load_image_set] data.held_out_fraction is for folders of images: expected 0 for ",
            enum_word(kind), ", got ", config.held_out_fraction);
  check_arg(config.split == DataSplit::kTrain || holds_images_out(config, kind),
            "[load_image_set] data.split test: expected a set that holds images out (",
            kind == DataKind::kFolder ? "data.held_out_fraction above 0"
                                      : "IDX images named 'train' with test images beside them",
            "), got '", config.path, "' of kind ", enum_word(kind));
}

/// [H, W, C] pixels to another channel count and size.
Image fit_image(Image image, int64_t channels, int64_t size, const DataConfig& config) {
  image = convert_channels(image, channels);
  if (image.width == size && image.height == size) return image;
  return fit_square(image, size, config.fit, config.filter);
}

}  // namespace

DataKind detect_kind(const DataConfig& config) {
  if (config.kind != DataKind::kAuto) return config.kind;
  check_arg(!config.path.empty(),
            "[load_image_set] data.path is empty: expected a path, or data.kind = \"shapes\"");
  const fs::path path = config.path;
  if (!fs::is_directory(path)) {
    return path.extension() == ".npz" ? DataKind::kNpz : DataKind::kIdx;
  }
  if (fs::exists(path / "data_batch_1.bin")) return DataKind::kCifar10;
  if (fs::exists(path / "train.bin")) return DataKind::kCifar100;
  return has_idx_images(path) ? DataKind::kIdx : DataKind::kFolder;
}

ImageSet load_image_set(const DataConfig& config) {
  check_arg(config.channels == 0 || config.channels == 1 || config.channels == 3,
            "[load_image_set] data.channels: expected 0, 1 or 3, got ", config.channels);
  check_arg(config.image_size >= 0 && config.image_size <= kMaxImageSize,
            "[load_image_set] data.image_size: expected 0 to ", kMaxImageSize, ", got ",
            config.image_size);
  const DataKind kind = detect_kind(config);
  check_path(config, kind);
  check_split(config, kind);
  switch (kind) {
    case DataKind::kIdx:
      return load_idx(config);
    case DataKind::kCifar10:
      return load_cifar10(config);
    case DataKind::kCifar100:
      return load_cifar100(config);
    case DataKind::kFolder:
      return load_image_folder(config);
    case DataKind::kShapes:
      return load_shapes(config);
    case DataKind::kNpz:
      return load_npz_images(config);
    case DataKind::kAuto:
      break;
  }
  throw std::logic_error("[load_image_set] not a DataKind");
}

bool has_test_split(const DataConfig& config) {
  const DataKind kind = detect_kind(config);
  check_path(config, kind);
  return holds_images_out(config, kind);
}

Tensor fit_images(const Tensor& images, const DataConfig& config, int64_t pad_up_to) {
  const int64_t count = images.size(0), height = images.size(2), width = images.size(3);
  const int64_t channels = config.channels > 0 ? config.channels : images.size(1);
  const int64_t size = config.image_size > 0 ? config.image_size : height;
  check_arg(config.image_size > 0 || height == width,
            "[fit_images] data.image_size is 0: expected square images, got ", width, " x ",
            height);
  Tensor source = images;
  const int64_t border = size - height;
  if (height == width && border > 0 && border <= pad_up_to) {
    const int64_t before = border / 2, after = border - before;
    source = at::constant_pad_nd(images, {before, after, before, after});
  }
  if (source.size(1) == channels && source.size(2) == size && source.size(3) == size) {
    return source.contiguous();
  }
  const Tensor pixels = source.permute({0, 2, 3, 1}).contiguous();
  const Image blank{
      .width = source.size(3), .height = source.size(2), .channels = source.size(1), .pixels = {}};
  const Tensor fitted = at::empty({count, size, size, channels}, at::kByte);
  const auto* in = pixels.const_data_ptr<uint8_t>();
  auto* out = fitted.mutable_data_ptr<uint8_t>();
  const int64_t in_bytes = blank.width * blank.height * blank.channels;
  const int64_t out_bytes = size * size * channels;
  at::parallel_for(0, count, 64, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      Image image = blank;
      image.pixels.assign(in + i * in_bytes, in + (i + 1) * in_bytes);
      image = fit_image(std::move(image), channels, size, config);
      std::copy(image.pixels.begin(), image.pixels.end(), out + i * out_bytes);
    }
  });
  return fitted.permute({0, 3, 1, 2}).contiguous();
}

}  // namespace ddpm
