#include "ddpm/pipeline/convert_model.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <array>
#include <utility>

#include "ddpm/checkpoint/json_file.h"
#include "ddpm/checkpoint/network_json.h"
#include "ddpm/checkpoint/scheduler_json.h"
#include "ddpm/checkpoint/scheduler_sampler.h"
#include "ddpm/config/toml_config.h"
#include "ddpm/core/check.h"
#include "ddpm/core/sha256.h"
#include "ddpm/diffusion/betas.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/model/network.h"
#include "ddpm/model/state_dict.h"
#include "ddpm/pipeline/model_files.h"
#include "ddpm/pipeline/pipeline.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

constexpr int64_t kTalkTimesteps = 300;
constexpr int64_t kTalkImageSize = 64;

/// The part of a recipe that overrides may name.
struct DiffusionSection {
  DiffusionConfig& diffusion;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("diffusion", diffusion, "the forward process and what is predicted");
  }
};

/// Sets a size that a recipe leaves to the data to dimension `dim` of a tensor.
void fill(int64_t& value, const NamedTensors& weights, const std::string& name, int64_t dim,
          const std::string& where) {
  if (value != 0) return;
  const Tensor* tensor = find_tensor(weights, name);
  if (tensor != nullptr && tensor->dim() > dim) value = tensor->size(dim);
  check_arg(value != 0, "[import_model] '", where, "' tensor is missing: expected '", name,
            "', got none");
}

void fill_sizes(RunConfig& recipe, const NamedTensors& weights, const std::string& where) {
  UNet2DConfig& unet = recipe.model.unet2d;
  switch (recipe.model.kind) {
    case ModelKind::kUNet2D:
      fill(unet.in_channels, weights, "conv_in.weight", 1, where);
      fill(unet.out_channels, weights, "conv_out.weight", 0, where);
      if (recipe.train.class_conditional && unet.class_embed_type == ClassEmbedType::kNone) {
        fill(unet.num_class_embeds, weights, "class_embedding.weight", 0, where);
      }
      if (recipe.augment.enabled && unet.augment_dim == 0) {
        unet.augment_dim = recipe.augment.num_labels();
      }
      return;
    case ModelKind::kSimpleUnet:
      fill(recipe.model.simple_unet.image_channels, weights, "conv0.weight", 1, where);
      return;
    case ModelKind::kClassifier:
      fill(recipe.model.classifier.in_channels, weights, "conv_in.weight", 1, where);
      fill(recipe.model.classifier.num_classes, weights, "head.weight", 0, where);
      return;
  }
}

void use_config(const fs::path& config, const std::string& where, ImportedModel& imported) {
  ModelFolder& folder = imported.folder;
  if (config.extension() == ".toml") {
    RunConfig recipe = load_recipe(config);
    fill_sizes(recipe, folder.weights, where);
    folder.model = recipe.model;
    folder.diffusion = recipe.diffusion;
    folder.extras.image_size = recipe.data.image_size;
    folder.extras.null_class = recipe.null_class();
    folder.extras.self_conditioning = recipe.train.self_conditioning;
    folder.extras.super_resolution = recipe.train.super_resolution;
    return;
  }
  check_arg(config.extension() == ".json",
            "[import_model] config: expected a network's config.json ",
            "or a recipe (.toml), got '", config.string(), "'");
  check_arg(fs::exists(config), "[import_model] config: expected '", config.string(),
            "', got nothing there");
  folder.model = network_from_json(read_json_file(config), config.string());
  folder.extras.image_size = folder.model.unet2d.sample_size;
  folder.scheduler_found = false;
  if (folder.model.kind == ModelKind::kUNet2D)
    rename_old_attention(folder.weights, config.string());
}

void use_talk_network(const ModelConfig& model, ImportedModel& imported) {
  imported.folder.model = model;
  imported.folder.diffusion.num_timesteps = kTalkTimesteps;
  imported.folder.extras.image_size = kTalkImageSize;
  imported.notes.push_back(c10::str("the tensors are those of the talk's ", enum_word(model.kind),
                                    ": taking its ", "schedule (linear, T = ", kTalkTimesteps,
                                    ") and images of ", kTalkImageSize, " x ", kTalkImageSize));
}

void use_improved_diffusion(const ImprovedDiffusionOptions& options, const std::string& where,
                            ImportedModel& imported) {
  ModelFolder& folder = imported.folder;
  ImprovedDiffusionImport found = import_improved_diffusion(folder.weights, options, where);
  folder.model.kind = ModelKind::kUNet2D;
  folder.model.unet2d = std::move(found.config);
  folder.weights = std::move(found.weights);
  folder.scheduler_found = false;
  const UNet2DConfig& unet = folder.model.unet2d;
  if (unet.out_channels == 2 * unet.in_channels) {
    folder.diffusion.variance = VarianceType::kLearnedRange;
  }
  imported.notes.emplace_back("the tensors are those of improved-diffusion's UNetModel");
}

/// The network: as the config says, or as the tensors' names do.
void use_network(const fs::path& path, const ImportOptions& options, ImportedModel& imported) {
  const NamedTensors& weights = imported.folder.weights;
  if (is_improved_diffusion(weights)) {
    check_arg(options.config.empty(), "[import_model] '", path.string(),
              "': expected no config for improved-diffusion's tensors, which say their network, "
              "got '",
              options.config.string(), "'");
    use_improved_diffusion(options.improved_diffusion, path.string(), imported);
    return;
  }
  check_arg(options.improved_diffusion == ImprovedDiffusionOptions(), "[import_model] '",
            path.string(),
            "': expected heads and timestep scale for improved-diffusion's tensors alone, got them "
            "for others");
  if (!options.config.empty()) {
    use_config(options.config, path.string(), imported);
    return;
  }
  const auto talk = talk_network_of(weights);
  check_arg(talk.has_value(), "[import_model] '", path.string(), "': its ", weights.size(),
            " tensors, '", weights.empty() ? "" : weights.front().first,
            "' and so on, don't say the network: expected a config (--config config.json or "
            "recipe.toml), got none");
  use_talk_network(*talk, imported);
}

/// The diffusion: what the network's files said, then the scheduler's file, then the overrides.
void use_diffusion(const ImportOptions& options, ImportedModel& imported) {
  ModelFolder& folder = imported.folder;
  if (!options.scheduler.empty()) {
    check_arg(fs::exists(options.scheduler), "[import_model] scheduler: expected '",
              options.scheduler.string(), "', got nothing there");
    const SchedulerFile file = read_scheduler_file(options.scheduler);
    folder.diffusion = file.diffusion;
    folder.scheduler = file.options;
    folder.unused_scheduler_keys = file.unused_keys;
    folder.scheduler_found = true;
  }
  DiffusionSection section{.diffusion = folder.diffusion};
  assign_fields(list_fields(section), parse_toml("", "overrides", options.overrides));
  if (!folder.scheduler_found) {
    imported.notes.push_back(c10::str("no file says the diffusion: taking schedule ",
                                      enum_word(folder.diffusion.schedule),
                                      ", T = ", folder.diffusion.num_timesteps, ", prediction ",
                                      enum_word(folder.diffusion.prediction), ", variance ",
                                      enum_word(folder.diffusion.variance)));
  }
}

ImportedModel import_weights(const fs::path& path, const ImportOptions& options) {
  check_arg(!options.raw_weights, "[import_model] '", path.string(),
            "' raw weights: expected a run or a checkpoint, got a file of weights");
  ImportedModel imported;
  imported.folder.weights = read_weights_file(path, options.key);
  imported.folder.scheduler.timestep_spacing = TimestepSpacing::kTrailing;
  use_network(path, options, imported);
  use_diffusion(options, imported);
  if (options.image_size > 0) imported.folder.extras.image_size = options.image_size;
  int64_t& sample_size = imported.folder.model.unet2d.sample_size;
  if (sample_size == 0) sample_size = imported.folder.extras.image_size;
  return imported;
}

ImportedModel import_folder(const fs::path& path, const ImportOptions& options) {
  ImportOptions about_weights = options;
  about_weights.raw_weights = false;
  check_arg(
      is_plain(about_weights) && options.key.empty(), "[import_model] '", path.string(),
      "': expected options about weights (config, scheduler, key, set, image size, heads) for "
      "a file of weights alone, got one for a model that says these itself");
  ImportedModel imported;
  imported.folder = read_model(path, options.raw_weights);
  if (!imported.folder.scheduler_found) {
    imported.notes.emplace_back(
        "no scheduler file beside the network: taking the linear schedule with T = 1000 and "
        "epsilon prediction");
  }
  return imported;
}

/// Says which keys of the scheduler's file did nothing, and what diffusers makes otherwise of it.
void note_scheduler(ImportedModel& imported) {
  for (std::string& note : scheduler_differences(imported.folder.scheduler)) {
    imported.notes.push_back(std::move(note));
  }
  const std::vector<std::string>& keys = imported.folder.unused_scheduler_keys;
  if (keys.empty()) return;
  std::string names;
  for (const std::string& key : keys) names += (names.empty() ? "" : ", ") + key;
  imported.notes.push_back(c10::str("keys of its scheduler's file that mean nothing to ",
                                    enum_word(imported.folder.scheduler.scheduler),
                                    " are left out: ", names));
}

}  // namespace

bool is_plain(const ImportOptions& options) {
  return options.config.empty() && options.scheduler.empty() && options.overrides.empty() &&
         options.image_size == 0 && options.improved_diffusion == ImprovedDiffusionOptions() &&
         !options.raw_weights;
}

ImportedModel import_model(const fs::path& path, const ImportOptions& options) {
  ImportedModel imported =
      is_weights_file(path) ? import_weights(path, options) : import_folder(path, options);
  note_scheduler(imported);
  static_cast<void>(make_noise_schedule(imported.folder.diffusion));  // refuses a bad one
  imported.folder.betas = unscaled_betas(imported.folder.diffusion);
  check_state_dict(*make_network(imported.folder.model), imported.folder.weights, path.string());
  return imported;
}

void use_scheduler(ImportedModel& imported, SamplerKind kind) {
  ModelFolder& folder = imported.folder;
  SchedulerChoice choice = scheduler_of_sampler(kind, folder.scheduler, folder.diffusion.variance);
  folder.scheduler = choice.options;
  imported.notes.insert(imported.notes.end(), choice.notes.begin(), choice.notes.end());
}

bool is_safetensors_target(const fs::path& path) {
  constexpr std::array kOtherFiles{".pth", ".pt", ".bin", ".ckpt", ".onnx", ".json", ".toml"};
  const std::string extension = path.extension().string();
  const bool is_other =
      std::find(kOtherFiles.begin(), kOtherFiles.end(), extension) != kOtherFiles.end();
  check_arg(!is_other, "[export_model] '", path.string(),
            "': expected the name of a model folder, or NAME.safetensors, got ", extension);
  return extension == ".safetensors";
}

std::string export_model(const fs::path& path, const ModelFolder& folder, bool overwrite) {
  if (!is_safetensors_target(path)) return write_model_folder(path, folder, overwrite);
  check_arg(!fs::is_directory(path), "[export_model] '", path.string(),
            "': expected a file or nothing there, got a folder");
  check_arg(overwrite || !fs::exists(path), "[export_model] '", path.string(),
            "': expected nothing there, got a file that would be overwritten");
  write_safetensors(path, folder.weights, {{"format", "pt"}});
  return sha256_file(path);
}

}  // namespace ddpm
