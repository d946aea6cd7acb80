#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

inline constexpr int kQuarters = 4;  // of the timesteps

/// A micro-batch's losses, as in kernels/step_sums.h.
struct MicroBatchBuffers {
  int64_t images = 0;
  int64_t step_images = 0;  ///< Of the whole batch.
  int64_t num_timesteps = 0;
  const float* objective = nullptr;  ///< [images], as all that follow.
  const float* plain = nullptr;
  const int64_t* t = nullptr;
  const bool* correct = nullptr;  ///< Or null, then those below are null as well.
};

/// A step's losses.
struct StepLossBuffers {
  float* loss = nullptr;               ///< One number.
  double* quarter_loss_sum = nullptr;  ///< [4]
  double* quarter_images = nullptr;    ///< [4]
  double* correct = nullptr;           ///< One number, or null.
};

/// Sums over steps, and what the step adds besides its losses.
struct StepStatisticsBuffers {
  double* quarter_loss_sum = nullptr;  ///< [4]
  double* quarter_images = nullptr;    ///< [4]
  double* loss_sum = nullptr;          ///< One number each, from here on.
  double* grad_norm_sum = nullptr;
  double* steps = nullptr;
  double* correct = nullptr;  ///< Or null.
  int64_t* longest_nonfinite_row = nullptr;
  double* last_nonfinite = nullptr;  ///< [3]
  const int64_t* step = nullptr;
  const float* grad_norm = nullptr;
  const int64_t* nonfinite_in_a_row = nullptr;
};

/// Adds a micro-batch to the step's losses, or puts it in their place if it is the first.
cudaError_t add_losses(const MicroBatchBuffers& losses, const StepLossBuffers& step, bool is_first,
                       cudaStream_t stream);

/// Takes a step into the statistics, or notes that it was skipped.
cudaError_t add_step(const StepStatisticsBuffers& statistics, const StepLossBuffers& step,
                     cudaStream_t stream);

}  // namespace ddpm::cuda
