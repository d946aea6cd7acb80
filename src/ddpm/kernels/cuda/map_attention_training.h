#pragma once

#include "ddpm/kernels/map_attention.h"

namespace ddpm::cuda {

/// map_attention() as one node of the autograd graph, for arguments that takes_map_attention().
/// Differentiable with respect to x, the norm's weight and bias, and the folded weights.
Tensor trained_map_attention(const MapAttentionArgs& args);

}  // namespace ddpm::cuda
