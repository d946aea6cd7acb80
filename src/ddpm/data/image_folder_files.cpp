#include "ddpm/data/image_folder_files.h"

#include <algorithm>
#include <array>
#include <cctype>
#include <string>
#include <string_view>

#include "ddpm/core/check.h"
#include "ddpm/core/sha256.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

constexpr std::array<std::string_view, 3> kExtensions{".png", ".jpg", ".jpeg"};

bool has_image_extension(const fs::path& path) {
  std::string extension = path.extension().string();
  std::transform(extension.begin(), extension.end(), extension.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  return std::find(kExtensions.begin(), kExtensions.end(), extension) != kExtensions.end();
}

/// Depth first. `open` holds the real paths of the folders being listed, to find circles.
void list_files(const fs::path& folder, std::vector<fs::path>& open, std::vector<fs::path>& out) {
  const fs::path real = fs::canonical(folder);
  check_arg(std::find(open.begin(), open.end(), real) == open.end(),
            "[list_image_folder] symbolic links lead in a circle: '", folder.string(), "' is in '",
            real.string(), "', which holds it");
  open.push_back(real);
  for (const auto& entry : fs::directory_iterator(folder)) {
    const fs::path& path = entry.path();
    if (path.filename().string().starts_with('.')) continue;
    if (entry.is_directory()) {
      list_files(path, open, out);
    } else if (has_image_extension(path)) {
      out.push_back(path);
    }
  }
  open.pop_back();
}

/// A file's place in [0, 1), by the first 64 bits of its name's SHA-256.
double place_of(const fs::path& inner) {
  const std::string digest = sha256_hex(inner.generic_string());
  return static_cast<double>(std::stoull(digest.substr(0, 16), nullptr, 16) >> 11) * 0x1p-53;
}

}  // namespace

ImageFolderFiles list_image_folder(const fs::path& folder) {
  ImageFolderFiles files;
  std::vector<fs::path> open;
  list_files(folder, open, files.paths);
  check_arg(!files.paths.empty(),
            "[list_image_folder] expected PNG or JPEG files (*.png, *.jpg, *.jpeg) in '",
            folder.string(), "', got none");
  std::sort(files.paths.begin(), files.paths.end());
  const fs::path* outside = nullptr;  // an image that lies in the folder itself
  for (const fs::path& path : files.paths) {
    const fs::path inner = path.lexically_relative(folder);
    if (std::next(inner.begin()) == inner.end()) {
      outside = &path;
      files.labels.push_back(0);
      continue;
    }
    // Sorted by path, so that a class's files follow one another, and the classes are sorted.
    const std::string name = inner.begin()->string();
    if (files.class_names.empty() || files.class_names.back() != name) {
      files.class_names.push_back(name);
    }
    files.labels.push_back(static_cast<int64_t>(files.class_names.size()) - 1);
  }
  check_arg(outside == nullptr || files.class_names.empty(),
            "[list_image_folder] expected images either in '", folder.string(),
            "' itself or in class folders, got both ('",
            outside == nullptr ? std::string() : outside->filename().string(), "' and folder '",
            files.class_names.empty() ? std::string() : files.class_names.front(), "')");
  return files;
}

ImageFolderFiles select_split(const ImageFolderFiles& files, const fs::path& folder,
                              DataSplit split, double held_out_fraction) {
  if (held_out_fraction == 0) return files;
  ImageFolderFiles side{.paths = {}, .labels = {}, .class_names = files.class_names};
  for (size_t i = 0; i < files.paths.size(); ++i) {
    const double place = place_of(files.paths[i].lexically_relative(folder));
    if ((place < held_out_fraction) != (split == DataSplit::kTest)) continue;
    side.paths.push_back(files.paths[i]);
    side.labels.push_back(files.labels[i]);
  }
  return side;
}

}  // namespace ddpm
