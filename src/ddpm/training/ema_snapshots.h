#pragma once

#include <cstdint>
#include <filesystem>
#include <vector>

#include "ddpm/core/named_tensors.h"

namespace ddpm {

/// A power-function average of a run's weights on disk: RUN/ema/step-00001000-std-0.05.safetensors,
/// the network's state dict in float32.
struct EmaSnapshot {
  std::filesystem::path path = {};
  int64_t step = 0;  ///< optimizer steps that it averages
  double std = 0;    ///< relative width, of power_ema_gamma
};

/// Writes a snapshot. One that is there is replaced: it holds the same.
/// @throws std::runtime_error, naming the file, if it can't be written.
void write_ema_snapshot(const std::filesystem::path& run_folder, int64_t step, double std,
                        const NamedTensors& weights);

/// The snapshots of a run, by step, then std; none if there is no folder.
/// @throws std::invalid_argument that names a .safetensors file which is not a snapshot.
std::vector<EmaSnapshot> list_ema_snapshots(const std::filesystem::path& run_folder);

/// The average of any width as of any step, from a run's snapshots: their sum with the factors of
/// posthoc_weights. The more snapshots, the nearer to what training with that std would have kept.
/// Holds one snapshot in memory at a time.
///
/// @param step at least 1: as of when.
/// @return     the network's state dict: float32 tensors averaged, others as in the last snapshot.
/// @throws std::invalid_argument if the run has no snapshots, std leaves the range of
///         power_ema_gamma, or the snapshots' tensors don't agree.
/// @throws std::runtime_error if a file is damaged.
NamedTensors reconstruct_ema(const std::filesystem::path& run_folder, double std, int64_t step);

}  // namespace ddpm
