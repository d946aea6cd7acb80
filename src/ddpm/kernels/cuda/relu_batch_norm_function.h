#pragma once

#include "ddpm/kernels/relu_batch_norm.h"

namespace ddpm::cuda {

/// True if the fused kernels take these arguments: a CUDA map of bfloat16 or float32 with a
/// multiple of 8 channels, weights, biases and time embedding of its dtype, float32 statistics and
/// an int64 number of batches on a GPU; and, where a gradient is asked for, training.
bool relu_batch_norm_is_fused(const ReluBatchNormArgs& args);

/// relu_batch_norm as one node of the autograd graph.
Tensor fused_relu_batch_norm(const ReluBatchNormArgs& args);

}  // namespace ddpm::cuda
