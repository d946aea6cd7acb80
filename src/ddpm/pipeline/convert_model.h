#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "ddpm/checkpoint/improved_diffusion.h"
#include "ddpm/checkpoint/model_folder.h"
#include "ddpm/config/sample_config.h"

namespace ddpm {

/// What files of weights alone don't say, and which weights of several.
struct ImportOptions {
  std::filesystem::path config = {};        ///< the network: its config.json, or a recipe
  std::filesystem::path scheduler = {};     ///< the diffusion: its scheduler_config.json
  std::string key = "";                     ///< which state dict of a .pth file
  std::vector<std::string> overrides = {};  ///< of the diffusion: "diffusion.num_timesteps=300"
  int64_t image_size = 0;                   ///< side of the images; 0: what the files say
  ImprovedDiffusionOptions improved_diffusion = {};  ///< for state dicts of its UNetModel
  bool raw_weights = false;  ///< of a run or a checkpoint: not their moving average
};

/// Whether no option but the key is given.
bool is_plain(const ImportOptions& options);

/// A model, and one sentence for each thing that its files did not say.
struct ImportedModel {
  ModelFolder folder;
  std::vector<std::string> notes;
};

/// Reads a model folder, run folder or checkpoint (read_model), or a .pth, .pt or .safetensors
/// file. The tensors' names tell the talk's networks, which get its schedule (linear, T = 300) and
/// images of 64 x 64, and improved-diffusion's; every other network needs a config. Weights are
/// compared with the network that they are for.
///
/// @throws std::invalid_argument, naming the file, if nothing says the network, the weights don't
///         fit it, or an option is given that means nothing for this path.
/// @throws std::runtime_error if a file is damaged.
ImportedModel import_model(const std::filesystem::path& path, const ImportOptions& options);

/// Gives a model the scheduler that draws as `kind` does (scheduler_of_sampler), with its notes.
void use_scheduler(ImportedModel& imported, SamplerKind kind);

/// Whether a path names a .safetensors file, rather than a model folder.
///
/// @throws std::invalid_argument for the names of other files: .pth, .json and so on.
bool is_safetensors_target(const std::filesystem::path& path);

/// Writes a model folder, or the weights alone as a .safetensors file, as the path's name says.
///
/// @param overwrite replace a model folder or a .safetensors file that is there.
/// @return          SHA-256 of the weights' file.
/// @throws std::invalid_argument if something is there and overwrite is false, or it is something
///         else.
/// @throws std::runtime_error if it can't be written.
std::string export_model(const std::filesystem::path& path, const ModelFolder& folder,
                         bool overwrite);

}  // namespace ddpm
