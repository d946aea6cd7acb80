#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/conv2d.h"

namespace ddpm::cuda {

/// Whether few_channels_conv2d() computes it: a network's first or last convolution of pixels in
/// bf16, without gradients.
bool is_few_channels_conv2d(const Conv2dArgs& args);

/// conv2d() by conv2d_few_channels_kernels.h. The first one's sums go with its result
/// (map_part_sums.h), the last one takes the norm before it.
Tensor few_channels_conv2d(const Conv2dArgs& args);

}  // namespace ddpm::cuda
