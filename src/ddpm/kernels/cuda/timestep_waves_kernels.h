#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// Rows of waves: sines and cosines of t[row] * scale * exp(i * log_step) for i < half.
struct WavesShape {
  int64_t rows = 0;
  int half = 0;
  int size = 0;  ///< Of a row: 2 half, or one more, which is 0.
  bool cos_first = true;
  float scale = 1;
  float log_period = 0;      ///< log of the longest period.
  float inverse_length = 0;  ///< log_step is -log_period * inverse_length.
  bool whole = true;         ///< t is int64, or float32.
  bool bf16 = false;         ///< Type of the waves: bfloat16, or float32.
};

/// waves [rows, size] of t [rows].
cudaError_t timestep_waves(const WavesShape& shape, const void* t, void* waves,
                           cudaStream_t stream);

}  // namespace ddpm::cuda
