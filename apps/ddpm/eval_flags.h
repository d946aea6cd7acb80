#pragma once

#include <cstdint>
#include <string>

#include "ddpm/checkpoint/model_folder.h"
#include "ddpm/core/progress.h"
#include "nlohmann/json.hpp"

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

/// Sets the process up: threads, and algorithms that repeat bit for bit.
void prepare_evaluation(const EvalFlags& flags);

/// Where progress goes: nowhere with --quiet or --json.
ProgressStyle eval_progress_style(const EvalFlags& flags);

/// {"path", "hash", "step"} of a model.
nlohmann::ordered_json model_json(const std::string& path, const ModelFolder& folder);

}  // namespace ddpm::app
