#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm::cuda {

/// Sums of a map's parts: [N, parts, C, 2] float32, of values and of their squares. The parts of an
/// image make up the whole of it.
///
/// Whoever writes a map and has its values at hand may keep them with the map: they go where its
/// tensor goes, and count until it is written again.
void keep_part_sums(const Tensor& map, const Tensor& sums);

/// Those of parts of 64 pixels: kept with the map, or computed now and kept.
///
/// @param map [N, C, H, W] bf16 on a GPU, channels_last, H W a multiple of 64.
Tensor part_sums(const Tensor& map);

/// Those kept with the map, of whatever parts, or computed now and kept.
///
/// @param map which can_sum_parts().
Tensor any_part_sums(const Tensor& map);

/// Whether any_part_sums() has or computes them: [N, C, H, W] bf16 on a GPU, C a multiple of 8 and
/// at most 2048.
bool can_sum_parts(const Tensor& map);

/// Whether norm_rows() takes the norm: no dropout, all of bf16.
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
