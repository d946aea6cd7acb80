#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/conv2d.h"

namespace ddpm::cuda {

/// Whether few_pixels_conv2d() computes it: bf16 maps of so few pixels that a GPU with clusters is
/// not filled otherwise, where no gradients are wanted.
bool is_few_pixels_conv2d(const Conv2dArgs& args);

/// conv2d() by conv2d_few_pixels_kernels.h. The sums that a group norm of the result needs go with
/// it (map_part_sums.h).
Tensor few_pixels_conv2d(const Conv2dArgs& args);

}  // namespace ddpm::cuda
