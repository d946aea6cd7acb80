#include "ddpm/data/npz_images.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "ddpm/core/check.h"
#include "ddpm/data/npz_reader.h"

namespace ddpm {
namespace {

constexpr const char* kImagesArray = "arr_0";
constexpr const char* kLabelsArray = "arr_1";
constexpr int64_t kMaxNpzClasses = 1'000'000;

/// @param count images in the file, of which set.images are the first.
void take_npz_labels(const std::string& path, const Tensor& labels, int64_t count, ImageSet& set) {
  check_state(labels.dim() == 1 && labels.scalar_type() == at::kLong && labels.size(0) == count,
              "[load_npz_images] '", path, "' arr_1: expected a label of int64 for each of ", count,
              " images, got shape ", labels.sizes(), " of ", labels.scalar_type());
  set.labels = labels.narrow(/*dim=*/0, 0, set.images.size(0)).clone();
  const auto largest = set.labels.max().item<int64_t>();
  check_state(set.labels.min().item<int64_t>() >= 0 && largest < kMaxNpzClasses,
              "[load_npz_images] '", path, "' arr_1: expected labels from 0 to ",
              kMaxNpzClasses - 1, ", got others");
  for (int64_t i = 0; i <= largest; ++i) set.class_names.push_back(std::to_string(i));
}

}  // namespace

ImageSet load_npz_images(const DataConfig& config) {
  const auto arrays = read_npz(config.path, {kImagesArray, kLabelsArray});
  const auto images = arrays.find(kImagesArray);
  check_state(images != arrays.end(), "[load_npz_images] '", config.path,
              "': expected an array arr_0 of images, got none");
  const Tensor& pixels = images->second;
  check_state(pixels.dim() == 4 && pixels.scalar_type() == at::kByte && pixels.numel() > 0 &&
                  (pixels.size(3) == 1 || pixels.size(3) == 3),
              "[load_npz_images] '", config.path,
              "' arr_0: expected uint8 images [N, H, W, 1 or 3], got shape ", pixels.sizes(),
              " of ", pixels.scalar_type());
  const int64_t count = pixels.size(0);
  const int64_t used = config.max_images > 0 ? std::min(count, config.max_images) : count;
  ImageSet set{.labels = at::zeros({used}, at::kLong), .name = config.path};
  set.images = fit_images(pixels.narrow(/*dim=*/0, 0, used).permute({0, 3, 1, 2}), config,
                          /*pad_up_to=*/0);
  const auto labels = arrays.find(kLabelsArray);
  if (labels != arrays.end()) take_npz_labels(config.path, labels->second, count, set);
  return set;
}

}  // namespace ddpm
