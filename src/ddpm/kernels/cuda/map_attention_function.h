#pragma once

#include "ddpm/kernels/map_attention.h"

namespace ddpm::cuda {

/// Whether attend_map() takes it, and is faster than several kernels.
bool takes_map_attention(const MapAttentionArgs& args);

/// map_attention(), which leaves the sums that the next norm needs with its result.
Tensor run_map_attention(const MapAttentionArgs& args);

}  // namespace ddpm::cuda
