#pragma once

#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm::cpu {

/// True if the fused kernels take these arguments: a CPU map of bfloat16 or float32, and every
/// other tensor of the map's dtype.
bool group_norm_silu_is_fused(const GroupNormSiluArgs& args);

/// group_norm_silu without its dropout, as one node of the autograd graph.
Tensor fused_group_norm_silu(const GroupNormSiluArgs& args);

/// The same without gradients, with zeros around it and `beside` images beside each other, by turns
/// a pixel of each.
///
/// @param padding at least 1.
/// @param beside  divides N.
/// @return [N / beside, H + 2 padding, W + 2 padding, beside, C]
Tensor padded_group_norm_silu(const GroupNormSiluArgs& args, int64_t padding, int64_t beside);

}  // namespace ddpm::cpu
