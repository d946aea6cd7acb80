#include "image_source.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <stdexcept>

#include "ddpm/config/toml_config.h"
#include "ddpm/core/check.h"
#include "ddpm/core/log.h"
#include "ddpm/data/permutation.h"

namespace ddpm::app {
namespace {

namespace fs = std::filesystem;

/// Takes ":train" or ":test" off the path.
std::optional<DataSplit> take_split(std::string& path) {
  for (const DataSplit split : {DataSplit::kTrain, DataSplit::kTest}) {
    const std::string ending = std::string(":") + enum_word(split);
    if (!path.ends_with(ending)) continue;
    path.resize(path.size() - ending.size());
    return split;
  }
  return std::nullopt;
}

/// In class folders the first images would be of the first classes alone.
void choose_images(ImageSet& set, int64_t count) {
  const int64_t all = set.images.size(0);
  if (count == 0 || count >= all) return;
  std::vector<int64_t> chosen(static_cast<size_t>(count));
  for (int64_t i = 0; i < count; ++i) {
    chosen[static_cast<size_t>(i)] = permuted_index(/*seed=*/0, /*epoch=*/0, i, all);
  }
  std::sort(chosen.begin(), chosen.end());
  const Tensor index = at::tensor(chosen, at::kLong);
  set.images = set.images.index_select(/*dim=*/0, index);
  set.labels = set.labels.index_select(/*dim=*/0, index);
}

std::string shape_text(at::IntArrayRef shape) {
  return c10::str(shape[2], " x ", shape[1], " x ", shape[0]);
}

/// How images come to the set's size.
std::string sizes_text(const DataConfig& data) {
  const std::string fitted =
      c10::str("fit ", enum_word(data.fit), ", filter ", enum_word(data.filter));
  switch (detect_kind(data)) {
    case DataKind::kShapes:
      return "drawn at this size";
    case DataKind::kFolder:
      return "other sizes: " + fitted;
    case DataKind::kIdx:
      if (data.image_size == 0) return "as stored";
      return "up to a quarter smaller: a border of zeros, other sizes: " + fitted;
    case DataKind::kCifar10:
    case DataKind::kCifar100:
    case DataKind::kNpz:
      return data.image_size == 0 ? "as stored" : "other sizes: " + fitted;
    case DataKind::kAuto:
      break;
  }
  throw std::logic_error("[sizes_text] not a DataKind");
}

std::string preprocessing_text(const DataConfig& data, at::IntArrayRef shape) {
  return c10::str(shape_text(shape), " uint8; ", sizes_text(data), "; x = pixel / 127.5 - 1");
}

}  // namespace

void check_data_overrides(const std::vector<std::string>& overrides) {
  constexpr std::array kNotHere{"data.split", "data.path", "data.horizontal_flip",
                                "data.prefetch_batches"};
  for (const std::string& text : overrides) {
    const std::string name = text.substr(0, text.find('='));
    const bool is_taken = name.starts_with("data.") &&
                          std::find(kNotHere.begin(), kNotHere.end(), name) == kNotHere.end();
    check_arg(is_taken, "[--set] ", name,
              ": expected a field of the data that says how images are ",
              "read, as in data.held_out_fraction=0.1 (which images: PATH, PATH:train or ",
              "PATH:test), got ", text);
  }
}

ImageSource parse_image_source(const std::string& text, const std::vector<std::string>& overrides) {
  ImageSource source{.path = text, .data = {}, .is_recipe = false, .split = {}};
  if (!fs::exists(text)) source.split = take_split(source.path);
  source.is_recipe = fs::path(source.path).extension() == ".toml";
  if (source.is_recipe) {
    source.data = load_recipe(source.path, overrides).data;
  } else {
    source.data = parse_recipe("", source.path, overrides).data;
    source.data.path = source.path;
  }
  if (source.split) source.data.split = *source.split;
  return source;
}

LoadedImages load_images(const ImageSource& source, const ImageDemands& demands) {
  DataConfig data = source.data;
  const bool is_array = fs::path(data.path).extension() == ".npz";
  if (!source.is_recipe && !is_array) {
    if (data.image_size == 0) data.image_size = demands.shape[1];
    if (data.channels == 0) data.channels = demands.shape[0];
  }
  LoadedImages loaded{.set = load_image_set(data), .about = {}};
  for (const std::string& skipped : loaded.set.skipped) log_warn("skipped " + skipped);
  const std::vector<int64_t> shape = loaded.set.images.sizes().slice(1).vec();
  check_arg(shape == demands.shape, "[", demands.command, "] ", source.path,
            ": expected images of ", shape_text(demands.shape), ", as the model takes them, got ",
            shape_text(shape));
  choose_images(loaded.set, demands.max_images);
  loaded.about = {{"path", source.path},
                  {"read", loaded.set.name},
                  {"split", has_test_split(data) ? enum_word(data.split) : "all"},
                  {"images", loaded.set.images.size(0)},
                  {"preprocessing", preprocessing_text(data, shape)}};
  return loaded;
}

}  // namespace ddpm::app
