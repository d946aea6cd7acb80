#pragma once

#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm::cuda {

/// True if the fused kernels take these arguments: CUDA maps of bfloat16 or float32 whose channels
/// the kernels can share out, and every other tensor of the maps' dtype.
bool group_norm_silu_is_fused(const GroupNormSiluArgs& args, const Tensor& x_rest = {});

/// group_norm_silu_fork as one node of the autograd graph.
GroupNormFork fused_group_norm_silu(const GroupNormSiluArgs& args, const Tensor& x_rest = {});

}  // namespace ddpm::cuda
