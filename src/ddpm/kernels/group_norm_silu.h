#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// What group_norm_silu computes. Tensors that are left undefined take no part.
struct GroupNormSiluArgs {
  Tensor x;                 ///< [N, C, H, W] float, channels_last.
  int64_t num_groups = 32;  ///< divides C.
  Tensor weight;            ///< [C]
  Tensor bias;              ///< [C]
  double eps = 1e-5;        ///< added to the variance.
  Tensor time_embedding;    ///< [N, C], added to every pixel of x before the norm.
  Tensor scale;             ///< [N, C], with shift: multiplies the normalised map by 1 + scale.
  Tensor shift;             ///< [N, C], added after the scale.
  bool silu = true;         ///< false: the norm alone.
  double dropout = 0.0;     ///< probability that an output is zeroed, in training only.
  bool training = false;
};

/// Group norm with what stands around it in a res block, in one pass over the map.
///
///     y = dropout(silu((1 + scale) * group_norm(x + time_embedding) + shift))
///
/// Statistics are kept in float32 for bf16 maps. Differentiable with respect to every tensor.
///
/// @return like x, channels_last.
/// @throws std::invalid_argument if a shape disagrees, num_groups does not divide C, or scale comes
///         without shift.
Tensor group_norm_silu(const GroupNormSiluArgs& args);

/// Throws what group_norm_silu, or group_norm_silu_fork with x_rest, throws of such arguments.
void check_group_norm_silu(const GroupNormSiluArgs& args, const Tensor& x_rest = {});

/// What group_norm_silu_fork answers.
struct GroupNormFork {
  Tensor y;             ///< [N, C + C', H, W] group_norm_silu of both maps' channels.
  Tensor x;             ///< args.x again; or both maps side by side, and then x_rest is undefined.
  Tensor x_rest;        ///< x_rest again.
  Tensor x_later = {};  ///< args.x once more, for a second reader.
};

/// group_norm_silu of args.x with x_rest's channels behind its own, for callers that read the maps
/// again: what they take from the answer, a GPU gives its gradients in the norm's own pass. Groups
/// may reach from one map into the other.
///
/// @param args   num_groups, weight, bias and the rest are those of C + C' channels.
/// @param x_rest [N, C', H, W]; undefined: none.
/// @throws std::invalid_argument as group_norm_silu, or if the maps' other sizes differ.
GroupNormFork group_norm_silu_fork(const GroupNormSiluArgs& args, const Tensor& x_rest = {});

}  // namespace ddpm
