#pragma once

#include <array>
#include <cstdint>
#include <string>

#include "ddpm/config/field.h"

namespace ddpm {

/// Where images come from. kAuto looks at the path.
enum class DataKind { kAuto, kIdx, kCifar10, kCifar100, kFolder, kShapes, kNpz };
/// Which images of a set. Those of kTest are for evaluation: training never sees them.
enum class DataSplit { kTrain, kTest };
/// How an image of another aspect ratio becomes a square of image_size.
enum class FitPolicy { kCrop, kPad, kStretch };
enum class ResizeFilter { kAuto, kArea, kBicubic };
enum class DamagedPolicy { kFail, kSkip };

template <>
struct EnumNames<DataKind> {
  static constexpr std::array names{"auto",   "idx",    "cifar10", "cifar100",
                                    "folder", "shapes", "npz"};
};
template <>
struct EnumNames<DataSplit> {
  static constexpr std::array names{"train", "test"};
};
template <>
struct EnumNames<FitPolicy> {
  static constexpr std::array names{"crop", "pad", "stretch"};
};
template <>
struct EnumNames<ResizeFilter> {
  static constexpr std::array names{"auto", "area", "bicubic"};
};
template <>
struct EnumNames<DamagedPolicy> {
  static constexpr std::array names{"fail", "skip"};
};

/// The images: what to read and what to make of it.
struct DataConfig {
  DataKind kind = DataKind::kAuto;
  std::string path;
  std::string labels_path;
  DataSplit split = DataSplit::kTrain;
  double held_out_fraction = 0.0;
  int64_t image_size = 0;
  int64_t channels = 0;
  int64_t max_images = 0;
  FitPolicy fit = FitPolicy::kCrop;
  ResizeFilter filter = ResizeFilter::kAuto;
  bool horizontal_flip = false;
  DamagedPolicy on_damaged = DamagedPolicy::kFail;
  std::string cache_dir;
  int64_t cache_above_mib = 1024;
  int64_t max_pixels = 100'000'000;
  int64_t prefetch_batches = 4;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("kind", kind, "what the path holds; auto looks at it");
    visit("path", path,
          "IDX file (.gz too), CIFAR binary folder, folder of PNG and JPEG files, "
          ".npz of samples; empty for shapes");
    visit("labels_path", labels_path, "IDX labels; empty: the images' name with 'labels-idx1'");
    visit(
        "split", split,
        "train, or what the set holds out: IDX's and CIFAR's test files, other shapes, a folder's "
        "held_out_fraction");
    visit("held_out_fraction", held_out_fraction,
          "folder: share of the files, told by their names, that training leaves out",
          between(0, 0.9));
    visit("image_size", image_size,
          "side of the square images in pixels; 0 keeps IDX and CIFAR "
          "sizes",
          at_least(0));
    visit("channels", channels, "1 grey, 3 RGB; 0 as the data has them", between(0, 3));
    visit("max_images", max_images, "use the first N images only; 0 uses all", at_least(0));
    visit("fit", fit, "how another aspect ratio becomes a square");
    visit("filter", filter, "resize filter; auto: area to shrink, bicubic to enlarge");
    visit("horizontal_flip", horizontal_flip, "mirror half of the training images");
    visit("on_damaged", on_damaged, "an image that can't be decoded: fail, or skip and name it");
    visit("cache_dir", cache_dir, "folder for decoded images; empty: .ddpm-cache beside the path");
    visit("cache_above_mib", cache_above_mib,
          "decoded folders above this size go to a mapped cache "
          "file, in MiB",
          at_least(0));
    visit("max_pixels", max_pixels, "larger images are refused before decoding", at_least(1));
    visit("prefetch_batches", prefetch_batches, "batches prepared ahead of the step",
          between(1, 64));
  }
};

}  // namespace ddpm
