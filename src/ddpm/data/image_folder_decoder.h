#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ddpm/data/image_folder_files.h"
#include "ddpm/data/image_set.h"

namespace ddpm {

/// Decoded files; damaged ones are left out of the tensors.
struct DecodedFiles {
  Tensor images;  ///< [n, C, H, W] uint8, contiguous
  Tensor labels;  ///< [n] int64
  std::vector<std::string> skipped{};
};

/// Decodes files[first, first + count) in parallel threads to config.channels (1 or 3) and squares
/// of config.image_size, in the files' order.
///
/// @throws std::runtime_error naming the first damaged file, under DamagedPolicy::kFail.
DecodedFiles decode_files(const ImageFolderFiles& files, int64_t first, int64_t count,
                          const DataConfig& config);

}  // namespace ddpm
