#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/group_norm_silu.h"

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

/// Whether norm_rows() takes the norm: SiLU with it, no dropout, all of bf16.
bool has_norm_rows(const GroupNormSiluArgs& norm, int64_t channels);

/// Of a group norm: [N, groups] float32 each.
struct NormStatistics {
  Tensor mean, rstd;
};

/// [N, C + C', 2] float32 a and b of a norm, whose x is not looked at, over two maps side by side:
/// group_norm_silu is silu(a x + b).
///
/// @param x_rest     As x [N, C', H, W]; undefined: none.
/// @param statistics The norm's come here; null: nobody wants them.
/// @throws std::invalid_argument if scale and shift have rows of different strides.
Tensor norm_rows(const GroupNormSiluArgs& norm, const Tensor& x, const Tensor& x_rest,
                 NormStatistics* statistics = nullptr);

}  // namespace ddpm::cuda
