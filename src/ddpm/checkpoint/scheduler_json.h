#pragma once

#include <nlohmann/json.hpp>

#include <string>
#include <vector>

#include "ddpm/checkpoint/model_folder.h"

namespace ddpm {

/// What scheduler_config.json says.
struct SchedulerFile {
  DiffusionConfig diffusion;
  SchedulerOptions options;
};

/// DDPMScheduler's configuration: every key of it, and only those.
///
/// @param betas ModelFolder::betas.
/// @throws std::invalid_argument if diffusers lacks the schedule and `betas` is not T values.
nlohmann::json scheduler_to_json(const SchedulerFile& file, const std::vector<double>& betas);

/// Reads the configuration of DDPMScheduler or DDIMScheduler, of early versions too.
///
/// @param where the file, for errors.
/// @throws std::invalid_argument, naming file, key and value, for another class, an unknown key or
///         a value that is not supported.
SchedulerFile scheduler_from_json(const nlohmann::json& json, const std::string& where);

}  // namespace ddpm
