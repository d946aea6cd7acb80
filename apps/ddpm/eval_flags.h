#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <vector>

#include "ddpm/checkpoint/model_folder.h"
#include "ddpm/core/progress.h"

namespace CLI {
class App;
}

namespace ddpm::app {

/// What every evaluation takes.
struct EvalFlags {
  std::vector<std::string> overrides;
  std::string device = "auto";
  int64_t max_images = 0;
  int64_t batch_size = 256;
  int64_t threads = 0;
  bool json = false;
  bool quiet = false;
};

/// Adds the flags; `flags` must outlive the command.
void add_eval_flags(CLI::App& command, EvalFlags& flags);

/// Checks the flags and sets the process up: threads, algorithms that repeat bit for bit, and fp32
/// that is not TF32.
///
/// @throws std::invalid_argument for a batch below 1, or as check_data_overrides.
void prepare_evaluation(const EvalFlags& flags);

/// Where progress goes: nowhere with --quiet or --json.
ProgressStyle eval_progress_style(const EvalFlags& flags);

/// {"path", "hash", "step"} of a model.
nlohmann::ordered_json model_json(const std::string& path, const ModelFolder& folder);

/// {"device", "set"}: where it was computed, and what --set has changed.
nlohmann::ordered_json settings_json(const EvalFlags& flags, at::Device device);

/// Prints a report's settings_json.
void print_settings(const nlohmann::ordered_json& report);

/// Prints the lines of "data", "draws", "seed" and settings_json of a report: what a model was
/// measured on.
void print_measured_images(const nlohmann::ordered_json& report);

}  // namespace ddpm::app
