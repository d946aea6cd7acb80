#include "ddpm/checkpoint/checkpoint_folder.h"

#include <algorithm>
#include <charconv>
#include <system_error>

#include "ddpm/checkpoint/atomic_folder.h"
#include "ddpm/checkpoint/checkpoint_manifest.h"
#include "ddpm/checkpoint/json_file.h"
#include "ddpm/core/check.h"
#include "ddpm/core/file.h"
#include "ddpm/core/padded_number.h"

namespace ddpm {
namespace {

namespace fs = std::filesystem;

constexpr const char* kWeights = "model.safetensors";
constexpr const char* kEma = "ema.safetensors";
constexpr const char* kOptimizer = "optimizer.safetensors";
constexpr const char* kState = "state.json";
constexpr const char* kRecipe = "recipe.json";
constexpr const char* kPrefix = "step-";
constexpr std::size_t kStepDigits = 8;

fs::path checkpoints_folder(const fs::path& run_folder) { return run_folder / "checkpoints"; }

/// The step that a folder's name says; nothing for other names, those of hidden folders included.
std::optional<std::int64_t> step_of(const fs::path& folder) {
  const std::string name = folder.filename().string();
  if (!name.starts_with(kPrefix)) return std::nullopt;
  const char* const end = name.data() + name.size();
  std::int64_t step = 0;
  const auto parsed = std::from_chars(name.data() + std::string(kPrefix).size(), end, step);
  if (parsed.ec != std::errc() || parsed.ptr != end) return std::nullopt;
  return step_name(step) == name ? std::optional(step) : std::nullopt;
}

CheckpointManifest verified_manifest(const fs::path& folder) {
  const CheckpointManifest manifest = verify_manifest(folder);
  const auto step = step_of(fs::absolute(folder / kManifestName).parent_path());
  check_state(!step || *step == manifest.step, "[read_checkpoint] step in '",
              (folder / kManifestName).string(), "': expected ", step.value_or(0),
              " as the folder's name says, got ", manifest.step);
  for (const char* name : {kWeights, kEma, kOptimizer, kState, kRecipe}) {
    check_state(manifest.files.contains(name), "[read_checkpoint] files in '",
                (folder / kManifestName).string(), "': expected '", name, "', got none");
  }
  return manifest;
}

/// Out of the list, but not lost: a run went on from an older checkpoint and past these.
void set_aside_later(const fs::path& run_folder, std::int64_t step) {
  for (const auto& entry : list_checkpoints(run_folder)) {
    if (entry.step <= step) continue;
    const fs::path aside =
        entry.folder.parent_path() / ("set-aside-" + entry.folder.filename().string());
    if (fs::exists(aside)) remove_folder_atomic(aside);
    std::error_code error;
    fs::rename(entry.folder, aside, error);
    check_state(!error, "[write_checkpoint] can't rename '", entry.folder.string(),
                "': ", error.message());
  }
  fsync_directory(checkpoints_folder(run_folder));
}

}  // namespace

std::string step_name(std::int64_t step) {
  return kPrefix + padded_number(static_cast<uint64_t>(step), kStepDigits);
}

fs::path write_checkpoint(const fs::path& run_folder, std::int64_t step,
                          const CheckpointContents& contents) {
  check_arg(step >= 0, "[write_checkpoint] step: expected at least 0, got ", step);
  const fs::path target = checkpoints_folder(run_folder) / step_name(step);
  AtomicFolder folder(target);
  const std::map<std::string, std::string> metadata{{"format", "pt"}};
  write_safetensors(folder.path() / kWeights, contents.weights, metadata);
  write_safetensors(folder.path() / kEma, contents.ema, metadata);
  write_safetensors(folder.path() / kOptimizer, contents.optimizer, metadata);
  write_json_file(folder.path() / kState, contents.state);
  write_json_file(folder.path() / kRecipe, contents.recipe);
  write_manifest(folder.path(), step);
  folder.commit();
  set_aside_later(run_folder, step);
  return target;
}

std::vector<CheckpointEntry> list_checkpoints(const fs::path& run_folder) {
  std::vector<CheckpointEntry> entries;
  const fs::path folder = checkpoints_folder(run_folder);
  if (!fs::is_directory(folder)) return entries;
  restore_replaced_folders(folder);
  for (const auto& entry : fs::directory_iterator(folder)) {
    const auto step = step_of(entry.path());
    if (step && entry.is_directory()) entries.push_back({.step = *step, .folder = entry.path()});
  }
  std::sort(entries.begin(), entries.end(),
            [](const auto& a, const auto& b) { return a.step < b.step; });
  return entries;
}

CheckpointContents read_checkpoint(const fs::path& folder) {
  const CheckpointManifest manifest = verified_manifest(folder);
  return {.weights = read_safetensors(folder / kWeights).tensors,
          .ema = read_safetensors(folder / kEma).tensors,
          .optimizer = read_safetensors(folder / kOptimizer).tensors,
          .state = read_json_file(folder / kState),
          .recipe = read_json_file(folder / kRecipe),
          .weights_hash = manifest.files.at(kWeights).sha256,
          .ema_hash = manifest.files.at(kEma).sha256};
}

std::optional<FoundCheckpoint> find_checkpoint(const fs::path& run_folder, bool allow_older) {
  auto entries = list_checkpoints(run_folder);
  if (entries.empty()) return std::nullopt;
  FoundCheckpoint found;
  for (auto entry = entries.rbegin(); entry != entries.rend(); ++entry) {
    try {
      found.contents = read_checkpoint(entry->folder);
      found.entry = *entry;
      return found;
    } catch (const std::runtime_error& error) {
      const bool can_go_on = entry + 1 != entries.rend();
      if (!allow_older && can_go_on) {
        throw std::runtime_error(c10::str(error.what(), "; --allow-older goes on from step ",
                                          (entry + 1)->step, " if that one is whole"));
      }
      found.damaged.emplace_back(error.what());
    }
  }
  std::string reasons;
  for (const auto& reason : found.damaged) reasons += (reasons.empty() ? "" : "; ") + reason;
  throw std::runtime_error(c10::str("[find_checkpoint] checkpoints in '", run_folder.string(),
                                    "': expected one that is whole, got ", reasons));
}

void prune_checkpoints(const fs::path& run_folder, std::int64_t keep) {
  check_arg(keep >= 0, "[prune_checkpoints] keep: expected at least 0, got ", keep);
  const auto entries = list_checkpoints(run_folder);
  const auto kept = keep == 0 ? entries.size() : static_cast<std::size_t>(keep);
  for (std::size_t i = 0; i + kept < entries.size(); ++i) remove_folder_atomic(entries[i].folder);
  const fs::path folder = checkpoints_folder(run_folder);
  if (fs::is_directory(folder)) remove_stale_folders(folder);
}

}  // namespace ddpm
