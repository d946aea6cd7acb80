#pragma once

#include <ATen/core/Tensor.h>

#include "ddpm/core/tensor.h"

// A channels_last map as the rows that matrix products take, and back.
namespace ddpm {

/// @param map [N, C, H, W] @return [N H W, C]
inline Tensor rows_of(const Tensor& map) {
  return map.permute({0, 2, 3, 1}).reshape({-1, map.size(1)});
}
/// @param rows [N H W, O] or [N, H W, O]
/// @param like [N, C, H, W]
/// @return     [N, O, H, W]
inline Tensor map_of(const Tensor& rows, const Tensor& like) {
  return rows.view({like.size(0), like.size(2), like.size(3), rows.size(-1)}).permute({0, 3, 1, 2});
}
/// A linear layer's weight [O, C] as a convolution's of single pixels, [O, C, 1, 1].
inline Tensor pixel_weight(const Tensor& weight) { return weight.unsqueeze(2).unsqueeze(3); }

}  // namespace ddpm
