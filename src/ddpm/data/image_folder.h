#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ddpm/data/image_set.h"

namespace ddpm {

/// The image files under a folder, sorted by path, with their classes.
struct ImageFolderFiles {
  std::vector<std::filesystem::path> paths;
  std::vector<int64_t> labels;
  std::vector<std::string> class_names;  ///< sorted; empty if the images lie in the folder itself
};

/// Lists *.png, *.jpg and *.jpeg (in any case) at any depth. The sub-folder of the first level is
/// the class. Symbolic links are followed; names that begin with a dot are left out.
///
/// @throws std::invalid_argument if no image is there, images lie both in the folder itself and in
///         sub-folders, or links lead in a circle.
ImageFolderFiles list_image_folder(const std::filesystem::path& folder);

/// Loads a folder of PNG and JPEG files, decoded by as many threads as there are processors.
///
/// Each image is fitted to a square of config.image_size by config.fit and config.filter. Channels:
/// config.channels, or for 0 what the files' headers say: 1 if all of them are grey, else 3. A file
/// that can't be decoded is fatal, or with DamagedPolicy::kSkip left out and named in `skipped`.
/// Sets above config.cache_above_mib go through a packed cache (packed_cache.h).
///
/// @throws std::invalid_argument as list_image_folder, or if config.image_size is 0.
/// @throws std::runtime_error naming the first damaged file, or if every file is damaged.
ImageSet load_image_folder(const DataConfig& config);

}  // namespace ddpm
