#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/conv2d.h"

namespace ddpm::cuda {

/// Whether fused_upsampled_conv2d takes the arguments: Hopper, bf16, maps as conv2d_warpgroup takes
/// them upsampled, with nothing but a bias.
bool upsampled_conv2d_is_fused(const Conv2dArgs& args);

/// A convolution of an upsampled map with gradients, in 4/9 of its products (see
/// upsampled_weight_kernels.h): the phases' weights, rounded to bf16, stand for sums of the
/// weight's taps. The result keeps the sums that the next norm needs.
Tensor fused_upsampled_conv2d(const Conv2dArgs& args);

}  // namespace ddpm::cuda
