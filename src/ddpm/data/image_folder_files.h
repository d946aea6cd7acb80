#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ddpm/config/data_config.h"

namespace ddpm {

/// The image files under a folder, sorted by path, with their classes.
struct ImageFolderFiles {
  std::vector<std::filesystem::path> paths;
  std::vector<int64_t> labels;           ///< one for each path; 0 without classes
  std::vector<std::string> class_names;  ///< sorted; empty if the images lie in the folder itself
};

/// Lists *.png, *.jpg and *.jpeg (in any case) at any depth. The sub-folder of the first level is
/// the class. Symbolic links are followed; names that begin with a dot are left out.
///
/// @throws std::invalid_argument if no image is there, images lie both in the folder itself and in
///         sub-folders, or links lead in a circle.
ImageFolderFiles list_image_folder(const std::filesystem::path& folder);

/// The files of one split. A file is held out for kTest if the first 64 bits of the SHA-256 of its
/// path in the folder, as a number in [0, 1), are below `held_out_fraction`: so it stays on its
/// side when others come or go.
ImageFolderFiles select_split(const ImageFolderFiles& files, const std::filesystem::path& folder,
                              DataSplit split, double held_out_fraction);

}  // namespace ddpm
