#pragma once

#include <string>
#include <vector>

#include "ddpm/config/data_config.h"
#include "ddpm/core/tensor.h"

namespace ddpm {

/// A whole set of images on the CPU.
struct ImageSet {
  Tensor images{};  ///< [N, C, H, W] uint8, contiguous; may be a read-only mapping of a file
  Tensor labels{};  ///< [N] int64, indices into class_names; all 0 if the set has no classes
  std::vector<std::string> class_names{};  ///< empty if the set has no classes
  std::string name{};                      ///< what was read: a path or "shapes"
  std::vector<std::string> skipped{};      ///< "file: reason", one for each damaged image left out
};

/// The kind of `config`'s set. kAuto takes a folder with data_batch_1.bin for CIFAR-10, with
/// train.bin for CIFAR-100, with a file named *images-idx3* for IDX, and any other folder for PNG
/// and JPEG files; an .npz file for samples, and another file for IDX.
///
/// @return not kAuto.
/// @throws std::invalid_argument for kAuto if the path is empty.
DataKind detect_kind(const DataConfig& config);

/// Reads (or draws) the images that `config` describes, of detect_kind(). Each kind's own rules
/// stand in idx.h, cifar.h, image_folder.h, npz_images.h and shapes.h.
///
/// @throws std::invalid_argument if the path is empty or absent, channels is 2, a size that the
///         kind needs is 0, or DataSplit::kTest is asked of a set that holds nothing out.
/// @throws std::runtime_error if a file can't be read or breaks its format.
ImageSet load_image_set(const DataConfig& config);

/// True if `config`'s set holds images out for evaluation, which DataSplit::kTest gives: IDX images
/// named 'train' with a 't10k' or 'test' file beside them, CIFAR, shapes, and folders with
/// held_out_fraction.
///
/// @throws std::invalid_argument as load_image_set if the path is empty or absent.
bool has_test_split(const DataConfig& config);

/// Brings whole sets of one size and channel count to config.channels and config.image_size (0: as
/// they are). Grey to RGB repeats the channel, RGB to grey is Rec. 601 luma.
///
/// @param images        [N, C, H, W] uint8.
/// @param pad_up_to     images whose side is smaller than image_size by at most this many pixels
///                      get a border of zeros (the odd pixel right and below); others are fitted
///                      to a square by config.fit and config.filter.
/// @return              [N, C', image_size, image_size] uint8, contiguous.
Tensor fit_images(const Tensor& images, const DataConfig& config, int64_t pad_up_to);

}  // namespace ddpm
