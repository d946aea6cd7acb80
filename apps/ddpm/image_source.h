#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "ddpm/config/data_config.h"
#include "ddpm/data/image_set.h"

namespace ddpm::app {

/// Images as evaluation commands take them: "PATH", "PATH:train" or "PATH:test", where PATH is a
/// recipe (its data), a folder of images, an .npz of samples, or IDX or CIFAR files.
struct ImageSource {
  std::string path;
  DataConfig data;
  bool is_recipe = false;
  std::optional<DataSplit> split;  ///< As given behind the path.
};

/// @throws std::invalid_argument if one of them is no field of the data, or one without a meaning
///         for evaluation: data.split and data.path, which the source says, and those of training.
void check_data_overrides(const std::vector<std::string>& overrides);

/// @param overrides fields that pass check_data_overrides; for a recipe and for a path.
/// @throws std::invalid_argument if a recipe can't be read.
ImageSource parse_image_source(const std::string& text, const std::vector<std::string>& overrides);

/// What is asked of a source's images.
struct ImageDemands {
  std::string command;         ///< For messages.
  std::vector<int64_t> shape;  ///< [C, H, W]. A folder's files and IDX images are brought to it; a
                               ///< recipe's and an .npz's have it or are refused.
  int64_t max_images = 0;      ///< A random choice of so many, always the same; 0: all.
};

struct LoadedImages {
  ImageSet set;
  nlohmann::ordered_json about;  ///< path, read (the files), split, images, preprocessing
};

/// Reads source.data (split included), and warns of damaged files that were skipped.
///
/// @throws std::invalid_argument if the images are of another shape, or as load_image_set.
LoadedImages load_images(const ImageSource& source, const ImageDemands& demands);

}  // namespace ddpm::app
