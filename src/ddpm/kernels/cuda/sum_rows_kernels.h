#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

#include "ddpm/kernels/cuda/bias_residual_kernels.h"

namespace ddpm::cuda {

/// Floats of scratch that sum_rows() needs.
int64_t sum_rows_scratch(const MapShape& shape);

/// sums[c] = sum of map[row, c] over rows, in float32 and in an order that depends on the shape
/// alone. `sums` [2, channels] is of the map's type: rounded, and what rounding left.
cudaError_t sum_rows(const MapShape& shape, const void* map, void* sums, float* scratch,
                     cudaStream_t stream);

/// A matrix and where the sums go of a map that it is multiplied with.
struct SummedProduct {
  const void* weight = nullptr;  ///< [rows, channels] of the shape.
  int rest_channels = 0;         ///< The last, whose sums stand apart.
  void* sums = nullptr;          ///< [2, channels - rest_channels]; null: nobody wants them.
  void* rest_sums = nullptr;     ///< [2, rest_channels], as sums.
};

/// The sums of the product from those of the map, given [2, rows].
cudaError_t sum_product_rows(const MapShape& shape, const void* given, const SummedProduct& product,
                             cudaStream_t stream);

}  // namespace ddpm::cuda
