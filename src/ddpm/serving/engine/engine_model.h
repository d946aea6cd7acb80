#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "ddpm/config/diffusion_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/pipeline/pipeline.h"

namespace ddpm {

/// The network as the engine calls it, for images that need not belong together
/// (network_answer_fn).
///
/// @param x            [N, C, H, W] float32: x_t; behind it, as many channels each, a
///                     self-conditioned model's last guess of x_0 and the image that one enlarges.
/// @param t            [N] int64, or float32 if some image of the batch has fractional timesteps.
/// @param class_labels [N] int64 on the model's device; undefined for a model without classes.
/// @return             [N, C, H, W], or [N, 2 C, H, W] with a learned variance; any floating dtype.
using EngineNetwork =
    std::function<Tensor(const Tensor& x, const Tensor& t, const Tensor& class_labels)>;

/// What is known of a model before its weights are read.
struct EngineModel {
  std::string id;
  NoiseSchedule schedule;  ///< On the CPU.
  PredictionType prediction = PredictionType::kEpsilon;
  std::vector<int64_t> image_shape;  ///< [C, H, W]
  int64_t num_labels = 0;            ///< Rows of its table of classes; 0: it has none.
  int64_t null_class = -1;           ///< The row that guides; -1: none, it can't be guided.
  bool self_conditioning = false;    ///< The network sees its own last guess of x_0.
  int64_t super_resolution = 0;      ///< How many times it enlarges images, which it sees; 0: none.
  int64_t size_bytes = 0;            ///< Of its weights, once read.
  at::Device device = at::kCPU;
  std::function<EngineNetwork()> load;  ///< Reads the weights; may throw.
};

/// The model of a folder (load_pipeline), whose weights are read by `load`, each time anew.
///
/// @throws std::invalid_argument as read_model does, or if the model draws no images.
EngineModel engine_model(const std::string& id, const std::filesystem::path& path,
                         const PipelineOptions& options);

/// As above, of a folder that was read already. Weights that are others than its when `load` reads
/// them, because the files changed, are an error there: std::runtime_error.
EngineModel engine_model(const std::string& id, const ModelFolder& folder,
                         const std::filesystem::path& path, const PipelineOptions& options);

}  // namespace ddpm
