#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/conv2d.h"

namespace ddpm::cuda {

/// Whether warpgroup_conv2d() computes it and is the faster one.
bool is_warpgroup_conv2d(const Conv2dArgs& args);

/// conv2d() by conv2d_warpgroup_kernels.h. The sums that a group norm of the result needs go with
/// it (map_part_sums.h).
Tensor warpgroup_conv2d(const Conv2dArgs& args);

/// A weight [O, C, k, k] of bf16 on a GPU, k at most 3, as PackedWeight::tiles(); undefined where
/// the kernel does not take it.
Tensor warpgroup_tiles(const Tensor& weight);

}  // namespace ddpm::cuda
