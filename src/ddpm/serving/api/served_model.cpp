#include "ddpm/serving/api/served_model.h"

#include <nlohmann/json.hpp>

#include <chrono>
#include <utility>

#include "ddpm/config/json_config.h"
#include "ddpm/core/sha256.h"
#include "ddpm/pipeline/guided_denoiser.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

void check_can_serve(const ModelFolder& folder) {
  if (folder.model.kind == ModelKind::kClassifier) {
    throw UnusableModel("It is a classifier, which draws no images.");
  }
}

void check_can_serve(const EngineModel& model, const ServedModelOptions& options) {
  const int64_t channels = model.image_shape.at(0);
  if (channels != 1 && channels != 3) {
    throw UnusableModel("Its images have " + std::to_string(channels) +
                        " channels, and pictures have 1 or 3.");
  }
  if (model.size_bytes > options.max_model_bytes) {
    throw UnusableModel("Its weights take " + std::to_string(model.size_bytes) +
                        " bytes, more than the " + std::to_string(options.max_model_bytes) +
                        " that the server has for models.");
  }
}

std::vector<std::string> names_of_classes(const ModelFolder& folder, int64_t num_classes) {
  std::vector<std::string> names = folder.extras.class_names;
  names.resize(static_cast<std::size_t>(num_classes));
  for (std::size_t i = 0; i < names.size(); ++i) {
    if (names[i].empty()) names[i] = std::to_string(i);
  }
  return names;
}

std::string fingerprint_of(const ModelFolder& folder, const SamplerOptions& sampler) {
  const nlohmann::json facts{
      {"hash", folder.model_hash},
      {"model", config_to_json(folder.model)},
      {"diffusion", config_to_json(folder.diffusion)},
      {"extras", config_to_json(folder.extras)},
      {"sampler", config_to_json(sampler)},
  };
  return sha256_hex(facts.dump());
}

int64_t seconds_of(fs::file_time_type time) {
  const auto system = std::chrono::file_clock::to_sys(time);
  return std::chrono::duration_cast<std::chrono::seconds>(system.time_since_epoch()).count();
}

}  // namespace

ServedModel read_served_model(const std::string& id, const fs::path& path,
                              const ServedModelOptions& options) {
  Pipeline known;
  known.folder = read_model(path, options.pipeline.raw_weights);
  const ModelFolder& folder = known.folder;
  check_can_serve(folder);
  ServedModel model{.id = id,
                    .hash = folder.model_hash,
                    .image_shape = known.image_shape(),
                    .num_classes = count_classes(folder),
                    .null_class = folder.extras.null_class,
                    .super_resolution = folder.extras.super_resolution,
                    .prediction = folder.diffusion.prediction,
                    .default_sampler = default_sampler_options(known),
                    .created_s = seconds_of(fs::last_write_time(path)),
                    .fingerprint = {},
                    .engine = {}};
  auto engine = std::make_shared<EngineModel>(engine_model(id, folder, path, options.pipeline));
  check_can_serve(*engine, options);
  model.class_names = names_of_classes(folder, model.num_classes);
  model.num_timesteps = engine->schedule.num_timesteps();
  model.fingerprint = fingerprint_of(folder, model.default_sampler);
  model.engine = std::move(engine);
  return model;
}

}  // namespace ddpm
