#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm::cuda {

/// Whether a weight [O, C, k, k] is one that conv2d_warpgroup reads: of bf16 on a GPU of Hopper.
bool has_warpgroup_tiles(const Tensor& weight);

/// Such a weight as PackedWeight::tiles(); undefined for others. Packed now, unless a
/// WeightTilesCache (kernels/weight_tiles_cache.h) has it: its next refresh() changes them.
Tensor warpgroup_tiles(const Tensor& weight);

/// The same of the weight [C, O, k, k] with which the gradient of a convolution's result becomes
/// that of what came in.
Tensor turned_warpgroup_tiles(const Tensor& weight);

}  // namespace ddpm::cuda
