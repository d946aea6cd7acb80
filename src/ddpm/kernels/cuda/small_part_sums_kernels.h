#pragma once

#include <cuda_runtime_api.h>

#include "ddpm/kernels/cuda/group_norm_sums_kernels.h"

namespace ddpm::cuda {

/// Parts of an image that sum_small_parts() sums well: few pixels each, so that a single image of
/// few pixels keeps many multiprocessors busy.
int small_parts(const SumsShape& shape);

/// sum_parts() of parts of any number of pixels.
///
/// @param parts which divides shape.pixels.
/// @param sums  [images, parts, channels, 2]
cudaError_t sum_small_parts(const SumsShape& shape, int parts, const void* map, float* sums,
                            cudaStream_t stream);

}  // namespace ddpm::cuda
