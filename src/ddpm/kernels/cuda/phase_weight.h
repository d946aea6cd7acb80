#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm::cuda {

/// The convolutions that one of kernel 3 and padding 1 over a map of repeated pixels
/// (upsample_nearest_2x) consists of: each pixel (2 i + a, 2 j + b) of the result sees 2 x 2 pixels
/// of the small map only, with sums of the 3 x 3 weights, so 4/9 of the products are left.
///
///     y[2 i + a, 2 j + b] = sum_{u, v} phase_{a b}[u, v] x[i + a - 1 + u, j + b - 1 + v]
///
/// @param weight [O, C, 3, 3]
/// @return       [4 O, C, 2, 2]: phases (0, 0), (0, 1), (1, 0), (1, 1).
Tensor phase_weight(const Tensor& weight);

}  // namespace ddpm::cuda
