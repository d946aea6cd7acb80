#pragma once

#include <filesystem>
#include <string>

#include "ddpm/config/run_config.h"
#include "ddpm/core/file_lock.h"

namespace ddpm::app {

/// Creates and locks `folder`, or takes an empty one. With `overwrite` what an earlier run left in
/// it is removed: only the files that a run writes.
///
/// @throws std::invalid_argument if a run is there and `overwrite` is false, or another process
///         trains there.
/// @throws std::runtime_error if it can't be created or written to.
FileLock prepare_run_folder(const std::filesystem::path& folder, bool overwrite);

/// Locks the folder of a run that is to go on.
///
/// @throws std::invalid_argument if no checkpoint is there, or another process trains there.
FileLock lock_run_to_resume(const std::filesystem::path& folder);

/// Checks that a run could write to `folder`, and leaves nothing behind.
///
/// @throws std::runtime_error if it could not.
void check_writable(const std::filesystem::path& folder);

/// Checks that a run begun with `saved` may go on with `wanted`: what changes its numbers must
/// agree.
///
/// @throws std::invalid_argument that names the field, with both values.
void check_resumable(const RunConfig& saved, const RunConfig& wanted);

}  // namespace ddpm::app
