#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

inline constexpr int kMostSamplerTerms = 8;

/// Values [images, elements] of float32 or float64, each contiguous.
struct SamplerTerms {
  int64_t images = 0;
  int64_t elements = 0;  ///< Of an image.
  int terms = 0;         ///< 1 to kMostSamplerTerms.
  bool is_double = false;
  double clip_range = 0;  ///< Positive, may be infinite.
  const void* values[kMostSamplerTerms] = {};
};

/// out[i] = sum_k coefficients[i, k] values[k][i], rounded to the values' type and clipped to the
/// range; a value whose coefficient is 0 is not read.
///
/// @param coefficients [images, terms] in the host's memory; read before this returns.
cudaError_t sampler_update(const SamplerTerms& terms, const double* coefficients, void* out,
                           cudaStream_t stream);

}  // namespace ddpm::cuda
