#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// Maps [rows, channels], channels innermost (NHWC), of bfloat16 or float32.
struct MapShape {
  int64_t rows = 0;
  int channels = 0;
  bool bf16 = false;
};

/// What is added to a map, of its type; null for what takes no part.
struct MapAddends {
  const void* bias = nullptr;           ///< [channels]
  const void* residual = nullptr;       ///< [rows, channels]
  const void* residual_bias = nullptr;  ///< [channels]
};

/// y += bias + residual + residual_bias in place. One read of each, one write.
cudaError_t add_bias_residual(const MapShape& shape, void* y, const MapAddends& addends,
                              cudaStream_t stream);

/// Floats of scratch that sum_rows() needs.
int64_t sum_rows_scratch(const MapShape& shape);

/// sums[c] = sum of map[row, c] over rows, in float32 and in an order that depends on the shape
/// alone. `sums` [channels] is of the map's type.
cudaError_t sum_rows(const MapShape& shape, const void* map, void* sums, float* scratch,
                     cudaStream_t stream);

}  // namespace ddpm::cuda
