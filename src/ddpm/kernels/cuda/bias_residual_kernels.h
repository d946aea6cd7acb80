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

}  // namespace ddpm::cuda
