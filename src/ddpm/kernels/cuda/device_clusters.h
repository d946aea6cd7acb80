#pragma once

namespace ddpm::cuda {

/// True if the current device runs clusters of blocks, and the kernels here were compiled for it:
/// those that come from PTX for older devices know no clusters.
bool device_has_clusters();

}  // namespace ddpm::cuda
