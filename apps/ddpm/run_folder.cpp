#include "run_folder.h"

#include <nlohmann/json.hpp>

#include <array>
#include <set>
#include <system_error>

#include "ddpm/checkpoint/checkpoint_folder.h"
#include "ddpm/config/json_config.h"
#include "ddpm/core/check.h"
#include "ddpm/core/file.h"
#include "ddpm/training/trainer.h"

namespace ddpm::app {
namespace {

namespace fs = std::filesystem;

constexpr std::array kRunEntries{"checkpoints", "model",       "samples",       "tensorboard",
                                 "ema",         "recipe.toml", "metrics.jsonl", "metrics.csv"};

bool holds_a_run(const fs::path& folder) {
  for (const char* entry : kRunEntries) {
    if (fs::exists(folder / entry)) return true;
  }
  return false;
}

fs::path nearest_existing(fs::path folder) {
  folder = fs::absolute(folder);
  while (!fs::exists(folder) && folder.has_relative_path()) folder = folder.parent_path();
  return folder;
}

/// The fields that a resumed run may change: they alter how long and where, not the numbers.
const std::set<std::string>& free_fields() {
  static const std::set<std::string> fields{"/train/steps",
                                            "/train/log_every",
                                            "/train/preview_every",
                                            "/train/preview_images",
                                            "/train/preview_steps",
                                            "/train/checkpoint_every",
                                            "/train/keep_checkpoints",
                                            "/train/device",
                                            "/train/threads",
                                            "/train/max_nonfinite_in_a_row",
                                            "/data/path",
                                            "/data/kind",
                                            "/data/labels_path",
                                            "/data/cache_dir",
                                            "/data/cache_above_mib",
                                            "/data/max_pixels",
                                            "/data/prefetch_batches"};
  return fields;
}

}  // namespace

void check_writable(const fs::path& folder) {
  const fs::path existing = nearest_existing(folder);
  check_state(fs::is_directory(existing), "[", folder.string(),
              "] the run folder can't be made: ", existing.string(), " is not a folder");
  const fs::path probe = existing / ".ddpm-write-check";
  try {
    write_file_atomic(probe, std::string("x"));
  } catch (const std::exception& error) {
    check_state(false, "[", folder.string(),
                "] the run folder can't be written to: ", error.what());
  }
  fs::remove(probe);
}

FileLock prepare_run_folder(const fs::path& folder, bool overwrite) {
  check_writable(folder);
  std::error_code error;
  fs::create_directories(folder, error);
  check_state(!error, "[", folder.string(), "] the run folder can't be made: ", error.message());
  FileLock lock(run_lock_path(folder));
  check_arg(overwrite || !holds_a_run(folder), "[", folder.string(),
            "] a run is there already: expected --resume to go on with it, --overwrite to replace "
            "it, or another -o");
  for (const char* entry : kRunEntries) fs::remove_all(folder / entry);
  return lock;
}

FileLock lock_run_to_resume(const fs::path& folder) {
  check_arg(!list_checkpoints(folder).empty(), "[--resume] ", folder.string(),
            ": expected a run with a checkpoint to resume, got none in ",
            (folder / "checkpoints").string());
  return FileLock(run_lock_path(folder));
}

void check_resumable(const RunConfig& saved, const RunConfig& wanted) {
  const nlohmann::json before = config_to_json(saved).flatten();
  const nlohmann::json after = config_to_json(wanted).flatten();
  for (const auto& [field, value] : before.items()) {
    const bool same = after.contains(field) && after[field] == value;
    if (same || free_fields().count(field) > 0) continue;
    std::string name = field.substr(1);
    for (char& letter : name) letter = letter == '/' ? '.' : letter;
    check_arg(false, "[--resume] ", name, ": expected the run's own ", value.dump(), ", got ",
              after.contains(field) ? after[field].dump() : "nothing");
  }
}

}  // namespace ddpm::app
