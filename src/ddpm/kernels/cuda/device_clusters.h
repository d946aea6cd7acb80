#pragma once

#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// True if the current device runs clusters of blocks, and the kernels here were compiled for it:
/// those that come from PTX for older devices know no clusters.
bool device_has_clusters();

/// The current device's multiprocessors.
cudaError_t count_processors(int& processors);

}  // namespace ddpm::cuda
