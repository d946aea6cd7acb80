#pragma once

#include "ddpm/kernels/conv2d.h"

namespace ddpm::cuda {

/// True for a convolution with a norm before it that warpgroup_conv2d() or few_channels_conv2d()
/// computes and that this differentiates.
bool norm_conv2d_is_fused(const Conv2dArgs& args);

/// conv2d_fork() as one node of the autograd graph. What the norm gives is not kept: the norm's
/// backward pass gives it again to the gradient of the weight.
Conv2dFork fused_norm_conv2d(const Conv2dArgs& args);

}  // namespace ddpm::cuda
