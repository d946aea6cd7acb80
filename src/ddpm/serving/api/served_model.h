#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "ddpm/config/diffusion_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/pipeline/pipeline.h"
#include "ddpm/serving/engine/engine_model.h"

namespace ddpm {

/// A model that requests may name, and what clients are told of it. Nothing changes it.
struct ServedModel {
  std::string id;
  std::string hash;                           ///< SHA-256 of its weights, 64 hex digits.
  std::vector<int64_t> image_shape;           ///< [C, H, W], C 1 or 3.
  int64_t num_classes = 0;                    ///< Without the null class; 0: it has none.
  std::vector<std::string> class_names = {};  ///< num_classes of them: digits where none is known.
  int64_t null_class = -1;                    ///< The label of no class; -1: none was trained.
  int64_t super_resolution =
      0;  ///< How many times it enlarges images; 0: it draws from noise alone.
  int64_t num_timesteps = 0;
  PredictionType prediction = PredictionType::kEpsilon;
  SamplerOptions default_sampler;  ///< What its scheduler's file asks for.
  int64_t created_s = 0;           ///< When its files were last written, since 1970.
  std::string fingerprint;         ///< Of all that its files say: equal where nothing changed.
  std::shared_ptr<const EngineModel> engine;
};

struct ServedModelOptions {
  PipelineOptions pipeline = {};
  int64_t max_model_bytes = int64_t{8} << 30;  ///< EngineOptions::max_model_bytes
};

/// Why a model can't be served. The message is for clients: it names no path.
class UnusableModel : public std::runtime_error {
  using std::runtime_error::runtime_error;
};

/// Reads what a model's files say; its weights are read by the engine, when they are needed.
///
/// @throws UnusableModel         if it is a classifier, does not draw grey or RGB images, or is too
///                               large.
/// @throws std::invalid_argument if the path is no model; std::runtime_error if it is damaged.
ServedModel read_served_model(const std::string& id, const std::filesystem::path& path,
                              const ServedModelOptions& options);

}  // namespace ddpm
