#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Attention of a sequence to itself, each of `num_heads` heads for itself:
///
///     y = softmax(q k^T / sqrt(width)) v
///
/// @param qkv [N, L, 3 C]: queries, keys and values side by side, each the heads' values in turn.
/// @return    [N, L, C]
/// @throws std::invalid_argument if the last size is no multiple of 3 num_heads.
Tensor attention(const Tensor& qkv, int64_t num_heads);

}  // namespace ddpm
