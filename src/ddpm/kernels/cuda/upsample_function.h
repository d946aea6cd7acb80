#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm::cuda {

/// True for CUDA maps of bfloat16 or float32 whose channels are a multiple of 8.
bool upsample_is_fused(const Tensor& x);

/// upsample_nearest_2x as one node of the autograd graph.
Tensor fused_upsample(const Tensor& x);

}  // namespace ddpm::cuda
