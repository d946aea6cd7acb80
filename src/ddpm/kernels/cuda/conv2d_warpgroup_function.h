#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/cuda/map_part_sums.h"

namespace ddpm::cuda {

/// Whether warpgroup_conv2d() computes it and is the faster one.
bool is_warpgroup_conv2d(const Conv2dArgs& args);

/// conv2d() by conv2d_warpgroup_kernels.h, without gradients. The sums that a group norm of the
/// result needs go with it (map_part_sums.h).
///
/// @param statistics those of the args' norm come here; null: nobody wants them.
Tensor warpgroup_conv2d(const Conv2dArgs& args, NormStatistics* statistics = nullptr);

}  // namespace ddpm::cuda
