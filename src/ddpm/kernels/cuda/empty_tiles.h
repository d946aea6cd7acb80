#pragma once

#include <ATen/ATen.h>

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

/// Room for a weight's tiles: [O / 128, C / 32, k k, 4, 128, 8], turned [C / 128, O / 32, ...].
inline Tensor empty_tiles(const TilesShape& shape, const Tensor& weight) {
  constexpr int64_t kRows = 128, kColumns = 32, kParts = 4;
  int64_t rows = shape.out_channels, columns = shape.in_channels;
  if (shape.turned) std::swap(rows, columns);
  return at::empty({rows / kRows, columns / kColumns, shape.taps, kParts, kRows, kColumns / kParts},
                   weight.options().memory_format(std::nullopt));
}

}  // namespace ddpm::cuda
