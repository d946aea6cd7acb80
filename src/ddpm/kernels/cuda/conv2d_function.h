#pragma once

#include "ddpm/kernels/conv2d.h"

namespace ddpm::cuda {

/// True for CUDA maps of bfloat16 or float32 whose weight, bias and residual have the same dtype.
bool conv2d_is_fused(const Conv2dArgs& args);

/// conv2d as one node of the autograd graph: LibTorch's convolution, one kernel that adds bias and
/// residual in place, and one that sums the bias' gradient.
Tensor fused_conv2d(const Conv2dArgs& args);

}  // namespace ddpm::cuda
