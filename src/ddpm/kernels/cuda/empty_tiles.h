#pragma once

#include <ATen/ATen.h>

#include <array>
#include <cstdint>
#include <utility>

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/cuda/conv2d_tiles_kernels.h"

namespace ddpm::cuda {

/// @param weight [O, C, k, k]
inline TilesShape tiles_shape(const Tensor& weight, bool turned) {
  return {.out_channels = static_cast<int>(weight.size(0)),
          .in_channels = static_cast<int>(weight.size(1)),
          .taps = static_cast<int>(weight.size(2) * weight.size(3)),
          .turned = turned};
}

/// Of a weight's tiles: [O / 128, C / 32, k k, 4, 128, 8], turned [C / 128, O / 32, ...].
inline std::array<int64_t, 6> tiles_sizes(const TilesShape& shape) {
  constexpr int64_t kRows = 128, kColumns = 32, kParts = 4;
  int64_t rows = shape.out_channels, columns = shape.in_channels;
  if (shape.turned) std::swap(rows, columns);
  return {rows / kRows, columns / kColumns, shape.taps, kParts, kRows, kColumns / kParts};
}

/// Room for them.
inline Tensor empty_tiles(const TilesShape& shape, const Tensor& weight) {
  return at::empty(tiles_sizes(shape), weight.options().memory_format(std::nullopt));
}

}  // namespace ddpm::cuda
