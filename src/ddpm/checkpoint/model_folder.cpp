#include "ddpm/checkpoint/model_folder.h"

#include <nlohmann/json.hpp>

#include "ddpm/checkpoint/atomic_folder.h"
#include "ddpm/checkpoint/diffusers_json.h"
#include "ddpm/checkpoint/json_file.h"
#include "ddpm/checkpoint/network_json.h"
#include "ddpm/checkpoint/scheduler_json.h"
#include "ddpm/config/json_config.h"
#include "ddpm/core/check.h"
#include "ddpm/core/sha256.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::json;

constexpr const char* kIndex = "model_index.json";
constexpr const char* kNetworkFolder = "unet";
constexpr const char* kNetworkConfig = "config.json";
constexpr const char* kNetworkWeights = "diffusion_pytorch_model.safetensors";
constexpr const char* kSchedulerFolder = "scheduler";
constexpr const char* kSchedulerConfig = "scheduler_config.json";
constexpr const char* kExtras = "ddpm.json";
constexpr const char* kExtrasFormat = "ddpm-model";
constexpr int kExtrasVersion = 1;
constexpr std::size_t kShortHashDigits = 12;

/// A pipeline with further parts (a text encoder, a VAE) gives other images without them.
void check_index(const fs::path& path) {
  const std::string where = path.string();
  const Json json = read_json_file(path);
  static_cast<void>(class_name_of(json, "", where));
  const Json parts = without_private_keys(json);
  for (const auto& [key, value] : parts.items()) {
    const bool is_absent = value.is_array() && !value.empty() && value.front().is_null();
    check_arg(key == kNetworkFolder || key == kSchedulerFolder || is_absent, "[", where,
              "] parts of the pipeline: expected unet and scheduler, got '", key, "'");
  }
}

/// Beside the weights that are missing: what to tell about a file that holds them in another form.
std::string hint_for(const fs::path& file) {
  const std::string name = file.filename().string();
  const std::string extension = file.extension().string();
  if (name.ends_with(".safetensors.index.json")) {
    return "'" + name + "': weights in several files are not supported";
  }
  if (extension == ".safetensors") return "'" + name + "': rename it if it holds the weights";
  for (const char* pickle : {".bin", ".pth", ".pt", ".ckpt"}) {
    if (extension == pickle) {
      return "'" + name +
             "', a pickle, which can run code when Python loads it: ddpm convert, with "
             "--config config.json, makes a model folder of it and runs nothing";
    }
  }
  return "";
}

fs::path find_weights(const fs::path& folder) {
  const fs::path path = folder / kNetworkWeights;
  if (fs::is_regular_file(path)) return path;
  std::string hint;
  for (const auto& entry : fs::directory_iterator(folder)) {
    if (hint.empty()) hint = hint_for(entry.path());
  }
  check_arg(false, "[read_model_folder] weights: expected '", path.string(), "', got ",
            hint.empty() ? "none" : hint);
  return path;
}

/// In its own folder, or beside the network's files; nothing for a network alone.
std::string find_scheduler(const fs::path& folder) {
  for (const fs::path& path :
       {folder / kSchedulerFolder / kSchedulerConfig, folder / kSchedulerConfig}) {
    if (fs::is_regular_file(path)) return path.string();
  }
  const bool is_pipeline = fs::exists(folder / kIndex);
  check_arg(!is_pipeline, "[read_model_folder] scheduler: expected '",
            (folder / kSchedulerFolder / kSchedulerConfig).string(), "', got none");
  return "";
}

ModelExtras read_extras(const fs::path& path) {
  const std::string where = path.string();
  Json json = read_json_file(path);
  check_arg(json.is_object(), "[", where, "] expected an object, got ", json.type_name());
  take_fixed(json, "format", kExtrasFormat, where);
  take_fixed(json, "version", kExtrasVersion, where);
  return config_from_json<ModelExtras>(json, where);
}

void write_extras(const fs::path& path, const ModelExtras& extras) {
  Json json = config_to_json(extras);
  json["format"] = kExtrasFormat;
  json["version"] = kExtrasVersion;
  write_json_file(path, json);
}

void check_target(const fs::path& path, bool overwrite) {
  if (!fs::exists(path)) return;
  check_arg(fs::is_directory(path), "[write_model_folder] '", path.string(),
            "': expected a folder or nothing, got a file");
  if (fs::is_empty(path)) return;
  check_arg(overwrite, "[write_model_folder] '", path.string(),
            "': expected nothing there, got a folder that would be overwritten");
  check_arg(fs::exists(path / kIndex), "[write_model_folder] '", path.string(),
            "': expected a model folder to overwrite, got a folder without ", kIndex);
}

}  // namespace

ModelFolder model_of_recipe(const RunConfig& recipe) {
  ModelFolder folder;
  folder.model = recipe.model;
  folder.diffusion = recipe.diffusion;
  folder.scheduler.timestep_spacing = TimestepSpacing::kTrailing;
  folder.extras.seed = recipe.train.seed;
  folder.extras.null_class = recipe.null_class();
  folder.extras.self_conditioning = recipe.train.self_conditioning;
  folder.extras.super_resolution = recipe.train.super_resolution;
  return folder;
}

ModelFolder read_model_folder(const fs::path& path) {
  check_arg(fs::is_directory(path), "[read_model_folder] '", path.string(),
            "': expected a model folder, got ", fs::exists(path) ? "a file" : "nothing");
  if (fs::exists(path / kIndex)) check_index(path / kIndex);
  const fs::path network = fs::is_directory(path / kNetworkFolder) ? path / kNetworkFolder : path;
  const fs::path config = network / kNetworkConfig;
  check_arg(fs::is_regular_file(config), "[read_model_folder] network: expected '", config.string(),
            "', got none");
  const fs::path weights = find_weights(network);
  const std::string scheduler = find_scheduler(path);

  ModelFolder folder;
  folder.model = network_from_json(read_json_file(config), config.string());
  folder.scheduler_found = !scheduler.empty();
  if (folder.scheduler_found) {
    const SchedulerFile file = read_scheduler_file(scheduler);
    folder.diffusion = file.diffusion;
    folder.scheduler = file.options;
    folder.unused_scheduler_keys = file.unused_keys;
  }
  folder.extras.image_size = folder.model.unet2d.sample_size;
  if (fs::exists(path / kExtras)) folder.extras = read_extras(path / kExtras);
  folder.diffusion.sigma_data = folder.extras.sigma_data;
  folder.weights = read_safetensors(weights, TensorStorage::kMapped).tensors;
  if (folder.model.kind == ModelKind::kUNet2D) {
    rename_old_attention(folder.weights, weights.string());
  }
  folder.model_hash = sha256_file(weights);
  return folder;
}

std::string write_model_folder(const fs::path& path, const ModelFolder& folder, bool overwrite) {
  check_target(path, overwrite);
  const Json network = network_to_json(folder.model);
  const Json index = {
      {"_class_name", "DDPMPipeline"},
      {"_diffusers_version", kDiffusersVersion},
      {"scheduler", {"diffusers", enum_word(folder.scheduler.scheduler)}},
      {"unet",
       {is_diffusers_network(folder.model) ? "diffusers" : "ddpm", network["_class_name"]}}};

  AtomicFolder target(path);
  const fs::path network_folder = target.path() / kNetworkFolder;
  const fs::path scheduler_folder = target.path() / kSchedulerFolder;
  fs::create_directory(network_folder);
  fs::create_directory(scheduler_folder);
  write_json_file(target.path() / kIndex, index);
  write_json_file(network_folder / kNetworkConfig, network);
  write_safetensors(network_folder / kNetworkWeights, folder.weights, {{"format", "pt"}});
  write_scheduler_file(scheduler_folder / kSchedulerConfig,
                       {.diffusion = folder.diffusion, .options = folder.scheduler}, folder.betas);
  ModelExtras extras = folder.extras;
  extras.sigma_data = folder.diffusion.sigma_data;
  write_extras(target.path() / kExtras, extras);
  const std::string model_hash = sha256_file(network_folder / kNetworkWeights);
  target.commit();
  const fs::path named = target.folder();
  remove_stale_folders(named.parent_path(), named.filename().string());
  return model_hash;
}

std::string short_model_hash(const std::string& model_hash) {
  return model_hash.substr(0, kShortHashDigits);
}

}  // namespace ddpm
