#pragma once

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// What one name took in the profiled steps, all of them together.
struct ProfileRow {
  std::string name;
  int64_t count = 0;
  double total_ms = 0;
  double share = 0;  ///< of all rows' time.
};

struct StepProfile {
  double step_ms = 0;  ///< wall clock of one step, with the profiler's own cost.
  std::vector<ProfileRow>
      kernels;  ///< by what ran: on a GPU its kernels and copies, on a CPU ATen's
                ///< operators without those that they call; most time first.
  std::vector<ProfileRow> layers;  ///< the same time by the operator that asked for it, with the
                                   ///< shapes of its inputs.
};

struct ProfileOptions {
  at::Device device = at::kCPU;
  int64_t warm_up_steps = 3;  ///< before the profiler starts.
  int64_t steps = 10;
  std::filesystem::path trace;  ///< receives a Chrome trace (chrome://tracing, ui.perfetto.dev).
};

/// Runs `step` warm_up_steps + steps times, the latter under LibTorch's profiler (Kineto).
///
/// What a captured graph replays was asked for by no operator: its time is in the layers' row
/// "(graph)".
///
/// @throws std::invalid_argument unless warm_up_steps >= 0 and steps >= 1.
/// @throws std::runtime_error if the trace can't be written.
StepProfile profile_steps(const std::function<void()>& step, const ProfileOptions& options);

/// kind,name,count,total_ms,share; kind is kernel or layer.
std::string profile_csv(const StepProfile& profile);

}  // namespace ddpm
