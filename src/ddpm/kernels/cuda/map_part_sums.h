#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm::cuda {

/// Sums of a map's parts of 64 pixels: [N, H W / 64, C, 2] float32, of values and of their squares.
///
/// Whoever writes a map and has its values at hand may keep them with the map: they go where its
/// tensor goes, and count until it is written again.
void keep_part_sums(const Tensor& map, const Tensor& sums);

/// Those kept with the map; computed now and kept, where there are none.
///
/// @param map [N, C, H, W] bf16 on a GPU, channels_last, H W a multiple of 64.
Tensor part_sums(const Tensor& map);

}  // namespace ddpm::cuda
