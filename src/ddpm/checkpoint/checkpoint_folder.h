#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "ddpm/checkpoint/safetensors.h"

namespace ddpm {

/// What files of a step are called: "step-00001000".
std::string step_name(std::int64_t step);

/// All that a run needs to go on exactly where it was.
struct CheckpointContents {
  NamedTensors weights;
  NamedTensors ema;
  NamedTensors optimizer;
  nlohmann::json state;      ///< counters, data position: what is not a tensor
  nlohmann::json recipe;     ///< the resolved recipe
  std::string weights_hash;  ///< SHA-256 of the weights' file; set by reading
  std::string ema_hash;      ///< the same of the moving average's
};

/// A checkpoint by its folder's name; read_checkpoint() says whether it is whole.
struct CheckpointEntry {
  std::int64_t step = 0;
  std::filesystem::path folder;
};

/// A checkpoint to go on from, read, and one sentence for each newer one that is damaged.
struct FoundCheckpoint {
  CheckpointEntry entry;
  CheckpointContents contents;
  std::vector<std::string> damaged;
};

/// Writes RUN/checkpoints/step-00001000 (docs/formats.md) so that a kill or a crash at any moment
/// leaves either the whole checkpoint or none: files go to a temporary folder and to the disk, then
/// manifest.json with the size and SHA-256 of each, then the folder gets its name. A checkpoint of
/// the same step is replaced in one exchange of names (two renames on file systems without it).
/// Checkpoints of later steps, which a run meets that went on from an older one, are
/// renamed to `set-aside-step-...`: the one written is the newest then.
/// One process at a time writes to a run folder.
///
/// @param step at least 0.
/// @return     the folder.
/// @throws std::invalid_argument if step is negative.
/// @throws std::runtime_error, naming the file and the reason (disk full, say), if it can't be
///         written. The temporary folder is gone then, and older checkpoints are untouched.
std::filesystem::path write_checkpoint(const std::filesystem::path& run_folder, std::int64_t step,
                                       const CheckpointContents& contents);

/// The checkpoints of a run, oldest first; none if the run folder has no `checkpoints`. One whose
/// replacement a kill has interrupted gets its name back first.
///
/// @throws std::runtime_error, naming the folder, if it can't get it back.
std::vector<CheckpointEntry> list_checkpoints(const std::filesystem::path& run_folder);

/// Verifies a checkpoint, then reads it.
///
/// @throws std::runtime_error, naming the file and the reason, unless the folder's manifest is
///         sound and every file has its size and SHA-256, and as read_safetensors().
CheckpointContents read_checkpoint(const std::filesystem::path& folder);

/// The newest checkpoint, verified and read; nothing if the run has none.
///
/// @param allow_older where the newest is damaged: go on from the newest one that is whole.
/// @throws std::runtime_error, naming the damaged file, the reason and --allow-older, if the newest
///         is damaged and allow_older is false, or all are damaged.
std::optional<FoundCheckpoint> find_checkpoint(const std::filesystem::path& run_folder,
                                               bool allow_older = false);

/// Removes all but the newest `keep` checkpoints (0 keeps all), and temporary folders that a kill
/// left behind.
///
/// @throws std::invalid_argument if keep is negative.
/// @throws std::runtime_error, naming the folder, if it can't be removed.
void prune_checkpoints(const std::filesystem::path& run_folder, std::int64_t keep);

}  // namespace ddpm
