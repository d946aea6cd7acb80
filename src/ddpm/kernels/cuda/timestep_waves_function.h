#pragma once

#include "ddpm/kernels/timestep_waves.h"

namespace ddpm::cuda {

/// True for timesteps on a GPU, int64 or float32, and waves that are computed in float32 and
/// rounded to it or to bfloat16.
bool timestep_waves_are_fused(const Tensor& t, const TimestepWavesOptions& options,
                              at::ScalarType rounded_to);

/// timestep_waves as one kernel.
Tensor fused_timestep_waves(const Tensor& t, const TimestepWavesOptions& options,
                            at::ScalarType rounded_to);

}  // namespace ddpm::cuda
