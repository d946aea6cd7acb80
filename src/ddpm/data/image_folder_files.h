#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

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

}  // namespace ddpm
