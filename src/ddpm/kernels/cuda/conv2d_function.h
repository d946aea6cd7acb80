#pragma once

#include "ddpm/kernels/conv2d.h"

namespace ddpm::cuda {

/// True for CUDA maps of bfloat16 or float32 whose weight, bias and residual have the same dtype.
bool conv2d_is_fused(const Conv2dArgs& args);

/// conv2d as one node of the autograd graph: LibTorch's convolution, one kernel that adds bias and
/// residual in place, and one that sums the bias' gradient.
Tensor fused_conv2d(const Conv2dArgs& args);

/// True if args and their shortcut are one kernel: a convolution of few pixels of bfloat16 and one
/// of single pixels, where no gradients are wanted.
bool conv2d_fuses_shortcut(const Conv2dArgs& args);
Tensor fused_conv2d_with_shortcut(const Conv2dArgs& args);

}  // namespace ddpm::cuda
