#include "ddpm/data/cifar.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>

#include "ddpm/core/check.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kSide = 32;
constexpr int64_t kPixelBytes = 3 * kSide * kSide;
constexpr std::array kCifar10Names{"airplane", "automobile", "bird",  "cat",  "deer",
                                   "dog",      "frog",       "horse", "ship", "truck"};

/// A record is some label bytes, the last of which counts, then the pixels, plane by plane.
struct Layout {
  int64_t label_bytes;
  std::vector<std::string> class_names;
};

std::vector<std::string> read_class_names(const fs::path& path, size_t expected) {
  std::ifstream file(path);
  std::vector<std::string> names;
  for (std::string line; std::getline(file, line);) {
    if (!line.empty() && line.back() == '\r') line.pop_back();
    if (!line.empty()) names.push_back(line);
  }
  check_state(names.size() == expected, "[load_cifar] class names in '", path.string(),
              "': expected ", expected, ", got ", names.size());
  return names;
}

ImageSet read_records(const fs::path& path, const Layout& layout) {
  const std::vector<uint8_t> bytes = read_binary_file(path);
  const int64_t record = layout.label_bytes + kPixelBytes;
  const auto size = static_cast<int64_t>(bytes.size());
  check_state(size > 0 && size % record == 0, "[load_cifar] size of '", path.string(),
              "': expected a multiple of ", record, " bytes, got ", size);
  const int64_t count = size / record;
  const auto classes = static_cast<int64_t>(layout.class_names.size());
  ImageSet set{.images = at::empty({count, 3, kSide, kSide}, at::kByte),
               .labels = at::empty({count}, at::kLong)};
  auto* pixels = set.images.mutable_data_ptr<uint8_t>();
  auto* labels = set.labels.mutable_data_ptr<int64_t>();
  for (int64_t i = 0; i < count; ++i) {
    const uint8_t* begin = bytes.data() + i * record;
    labels[i] = begin[layout.label_bytes - 1];
    check_state(labels[i] < classes, "[load_cifar] label of record ", i, " in '", path.string(),
                "': expected less than ", classes, ", got ", labels[i]);
    std::copy_n(begin + layout.label_bytes, kPixelBytes, pixels + i * kPixelBytes);
  }
  return set;
}

ImageSet load_files(const std::vector<fs::path>& paths, const Layout& layout,
                    const DataConfig& config) {
  std::vector<Tensor> images, labels;
  for (const fs::path& path : paths) {
    check_arg(fs::exists(path), "[load_cifar] expected file '", path.string(), "', got none");
    ImageSet part = read_records(path, layout);
    images.push_back(part.images);
    labels.push_back(part.labels);
  }
  ImageSet set{.images = at::cat(images),
               .labels = at::cat(labels),
               .class_names = layout.class_names,
               .name = config.path};
  if (config.max_images > 0 && config.max_images < set.labels.size(0)) {
    set.images = set.images.narrow(0, 0, config.max_images).clone();
    set.labels = set.labels.narrow(0, 0, config.max_images).clone();
  }
  set.images = fit_images(set.images, config, 0);
  return set;
}

}  // namespace

ImageSet load_cifar10(const DataConfig& config) {
  const fs::path folder = config.path;
  const fs::path names_path = folder / "batches.meta.txt";
  Layout layout{.label_bytes = 1, .class_names = {kCifar10Names.begin(), kCifar10Names.end()}};
  if (fs::exists(names_path)) layout.class_names = read_class_names(names_path, 10);
  std::vector<fs::path> paths;
  if (config.split == DataSplit::kTest) paths = {folder / "test_batch.bin"};
  for (int i = 1; i <= 5 && config.split == DataSplit::kTrain; ++i) {
    paths.push_back(folder / ("data_batch_" + std::to_string(i) + ".bin"));
  }
  return load_files(paths, layout, config);
}

ImageSet load_cifar100(const DataConfig& config) {
  const fs::path folder = config.path;
  const fs::path names_path = folder / "fine_label_names.txt";
  Layout layout{.label_bytes = 2, .class_names = {}};
  if (fs::exists(names_path)) {
    layout.class_names = read_class_names(names_path, 100);
  } else {
    for (int i = 0; i < 100; ++i) layout.class_names.push_back(std::to_string(i));
  }
  const char* const file = config.split == DataSplit::kTest ? "test.bin" : "train.bin";
  return load_files({folder / file}, layout, config);
}

}  // namespace ddpm
