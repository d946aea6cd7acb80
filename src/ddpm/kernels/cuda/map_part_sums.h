#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/cuda/group_norm_sums_kernels.h"
#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm::cuda {

/// Sums of a map's parts: [N, parts, C, 2] float32, of values and of their squares. The parts of an
/// image make up the whole of it.
///
/// Whoever writes a map and has its values at hand may keep them with the map: they go where its
/// tensor goes, and count until it is written again.
void keep_part_sums(const Tensor& map, const Tensor& sums);

/// Room for those of a map, unwritten.
Tensor empty_part_sums(const Tensor& map, int64_t parts);

/// Those kept with the map, of whatever parts, or computed now and kept: of few parts for one norm,
/// or of small ones, so that a single image of few pixels keeps many multiprocessors busy.
///
/// @param map which can_sum_parts(), channels_last.
Tensor part_sums(const Tensor& map);
Tensor small_part_sums(const Tensor& map);

/// map += bias [C], and keeps the sums of what it holds then, in one pass.
void add_bias_and_keep_sums(const Tensor& map, const Tensor& bias);

/// The map [N, C, h, w] that stands in `from` [N, C, H, W] behind its first row and column, plus
/// bias [C], which keeps its sums.
Tensor inner_map_with_bias(const Tensor& from, int64_t height, int64_t width, const Tensor& bias);

/// Whether they have or compute them: [N, C, H, W] bf16 on a GPU, C a multiple of 8 and
/// at most 2048.
bool can_sum_parts(const Tensor& map);

/// Whether NormInputs take the norm: no dropout, all of bf16.
bool has_norm_rows(const GroupNormSiluArgs& norm, int64_t channels);

/// Of a group norm: [N, groups] float32 each.
struct NormStatistics {
  Tensor mean, rstd;
};

/// What a kernel takes of a norm over two maps side by side, and the tensors that must stay until
/// it is launched.
struct NormInputs {
  Tensor sums, rest_sums, time_embedding, scale, shift;
  NormFromSums from;

  /// @param norm   Its x is not looked at.
  /// @param x_rest As x [N, C', H, W]; undefined: none.
  /// @throws std::invalid_argument if scale and shift have rows of different strides.
  NormInputs(const GroupNormSiluArgs& norm, const Tensor& x, const Tensor& x_rest);

  /// Whoever takes the norm leaves its statistics there, too.
  void ask_for(NormStatistics& statistics);
};

/// [N, C + C', 2] float32 a and b of the norm: a x + b.
Tensor norm_rows(const NormInputs& norm);

}  // namespace ddpm::cuda
