#pragma once

#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm::cpu {

/// True if the fused kernels take these arguments: a CPU map of bfloat16 or float32, and every
/// other tensor of the map's dtype.
bool group_norm_silu_is_fused(const GroupNormSiluArgs& args);

/// group_norm_silu without its dropout, as one node of the autograd graph.
Tensor fused_group_norm_silu(const GroupNormSiluArgs& args);

}  // namespace ddpm::cpu
