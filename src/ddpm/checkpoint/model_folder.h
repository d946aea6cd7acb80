#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/checkpoint/scheduler_options.h"
#include "ddpm/config/diffusion_config.h"
#include "ddpm/config/model_config.h"
#include "ddpm/config/run_config.h"

namespace ddpm {

/// What diffusers' files have no place for; kept in ddpm.json, which diffusers ignores.
struct ModelExtras {
  std::vector<std::string> class_names;
  std::string data_name;
  int64_t image_size = 0;
  int64_t step = 0;
  uint64_t seed = 0;
  int64_t null_class = -1;
  bool self_conditioning = false;
  int64_t super_resolution = 0;
  double sigma_data = 0.5;
  double value_min = -1.0;
  double value_max = 1.0;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("class_names", class_names, "of class labels 0, 1, ..");
    visit("data_name", data_name, "what the network was trained on");
    visit("image_size", image_size, "side of the images; 0 unknown", at_least(0));
    visit("step", step, "optimizer steps of training", at_least(0));
    visit("seed", seed, "of the training run");
    visit("null_class", null_class, "label that stands for no class; -1: none was trained",
          at_least(-1));
    visit("self_conditioning", self_conditioning,
          "the network takes its last guess of x_0 beside x_t");
    visit("super_resolution", super_resolution,
          "how many times the network enlarges images, which it takes beside x_t; 0: it does not",
          between(0, 64));
    visit("sigma_data", sigma_data, "prediction edm: standard deviation of the data's pixels",
          between(1e-3, 1e3));
    visit("value_min", value_min, "the network's value for a dark pixel");
    visit("value_max", value_max, "the network's value for a bright pixel");
  }
};

/// A trained model, as diffusers lays it out: model_index.json, unet/, scheduler/.
struct ModelFolder {
  ModelConfig model;
  DiffusionConfig diffusion;
  SchedulerOptions scheduler;
  /// The T betas before any zero-terminal-SNR rescale. Written where diffusers lacks the schedule
  /// (const, jsd, sigmoid_alpha_bar), and needed only there; left empty by reading.
  std::vector<double> betas;
  NamedTensors weights;
  ModelExtras extras;
  std::string model_hash;       ///< SHA-256 of the weights file; set by reading
  bool scheduler_found = true;  ///< false: a bare network folder; `diffusion` is the default
  /// Keys of the scheduler's file that only other schedulers have; set by reading.
  std::vector<std::string> unused_scheduler_keys = {};
  /// What the run was, resolved; set by reading a checkpoint. Model folders don't hold it.
  std::optional<RunConfig> recipe = {};
};

/// What a run's recipe says of its model; weights, and what only the data and the run know, are
/// left out. Sampling begins at the last timestep (trailing), as the run's previews do.
ModelFolder model_of_recipe(const RunConfig& recipe);

/// Reads a model folder that this project or diffusers wrote. Taken as well: the files of unet/ and
/// scheduler/ side by side (google/ddpm-cifar10-32), or a network folder alone; the older names of
/// attention weights (query, key, value, proj_attn). Weights are mapped: they must not be written
/// to.
///
/// Schedules are read as DiffusionConfig names them; one that comes as trained_betas as kCustom.
///
/// @throws std::invalid_argument, naming file, key and value, if the folder is not a model folder
/// or
///         asks for something that isn't supported (another class, an unknown key, pickled
///         weights).
/// @throws std::runtime_error if a file can't be read or is damaged.
ModelFolder read_model_folder(const std::filesystem::path& path);

/// Writes a model folder that `DDPMPipeline.from_pretrained` loads (kUNet2D), or the same layout
/// under our class name (kSimpleUnet, kClassifier): all of it, or nothing.
///
/// @param overwrite replace a model folder that is there.
/// @return          the model hash: SHA-256 of the weights file, 64 hex digits.
/// @throws std::invalid_argument if the path exists and overwrite is false, or holds something else
///         than a model folder; if a size of the network is unresolved (0); or if `betas` is needed
///         and does not have T values.
/// @throws std::runtime_error, naming the file, if it can't be written.
std::string write_model_folder(const std::filesystem::path& path, const ModelFolder& folder,
                               bool overwrite = false);

/// The first 12 digits of a model hash: what PNG text chunks hold.
std::string short_model_hash(const std::string& model_hash);

}  // namespace ddpm
