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

}  // namespace ddpm
