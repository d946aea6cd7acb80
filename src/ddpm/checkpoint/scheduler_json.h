#pragma once

#include <nlohmann/json.hpp>

#include <filesystem>
#include <string>
#include <vector>

#include "ddpm/checkpoint/scheduler_options.h"
#include "ddpm/config/diffusion_config.h"

namespace ddpm {

/// What scheduler_config.json says.
struct SchedulerFile {
  DiffusionConfig diffusion;
  SchedulerOptions options;
  /// Keys that other schedulers have and this one lacks, to which they mean nothing; set by
  /// reading, never written.
  std::vector<std::string> unused_keys = {};
};

/// The configuration of options.scheduler: every key that diffusers writes for it, and only those.
///
/// @param betas ModelFolder::betas.
/// @throws std::invalid_argument if the class has no place for what the model needs (zero terminal
///         SNR, learned_range), or lacks the schedule and `betas` is not T values.
nlohmann::json scheduler_to_json(const SchedulerFile& file, const std::vector<double>& betas);

/// Reads the configuration of a SchedulerClass, of early versions too: keys that are absent have
/// diffusers' defaults. A file without a class is DDPMScheduler's.
///
/// @param where the file, for errors.
/// @throws std::invalid_argument, naming file, key and value, for another class, a key that no
///         scheduler has or a value that is not supported.
SchedulerFile scheduler_from_json(const nlohmann::json& json, const std::string& where);

/// scheduler_from_json of a file, which may hold -Infinity as Python writes it.
///
/// @throws std::runtime_error as read_json_file does.
SchedulerFile read_scheduler_file(const std::filesystem::path& path);

/// Writes scheduler_to_json: all of it, or nothing.
void write_scheduler_file(const std::filesystem::path& path, const SchedulerFile& file,
                          const std::vector<double>& betas);

}  // namespace ddpm
