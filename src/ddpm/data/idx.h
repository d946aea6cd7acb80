#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "ddpm/data/image_set.h"

namespace ddpm {

/// The content of one IDX file of unsigned bytes (the format of MNIST and its kin).
struct IdxArray {
  std::vector<int64_t> sizes;
  std::vector<uint8_t> values;  ///< row-major
};

/// Reads an IDX file, gzip-compressed or plain (the content decides, not the name). The header says
/// how many bytes to expect; decompression stops there, so a crafted file can't fill the memory.
///
/// @throws std::runtime_error if the file can't be read, is no IDX file of unsigned bytes, has not
///         1 to 4 dimensions, announces over 2^40 bytes, ends early, goes on after its data, or its
///         gzip stream is damaged.
IdxArray read_idx(const std::filesystem::path& path);

/// Loads IDX images with their labels. config.path names the images or a folder that holds them
/// (train-images-idx3-ubyte, with .gz or without, before others; then the only *images-idx3*).
/// Labels come from config.labels_path, or else from the file named 'labels-idx1' where the images'
/// name has 'images-idx3' (.gz or not). A set has no classes only if neither names a file.
///
/// DataSplit::kTest takes the file whose name has 't10k' or 'test' where the training images' has
/// 'train', with its own labels; config.labels_path must be empty then.
///
/// Images are grey and keep their size, unless config.image_size says otherwise. Where it is up to
/// a quarter larger than the data (28 to 32, say), they get a border of zeros; else, a resize.
/// Classes are named "0", "1", ..., or by garment (Fashion-MNIST) when the path says 'fashion'.
///
/// @throws std::invalid_argument if no images or labels are found.
/// @throws std::runtime_error as read_idx, or if images are not [N, H, W], labels not [N] of the
///         same N, or a label has no name in Fashion-MNIST.
ImageSet load_idx(const DataConfig& config);

/// True if test images lie beside the training images that `path` names.
///
/// @throws std::invalid_argument if no images are found.
bool has_idx_test_images(const std::filesystem::path& path);

}  // namespace ddpm
