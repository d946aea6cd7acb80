#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// Rows of attention: scores are float32, probabilities and their gradient bfloat16 or float32.
struct SoftmaxShape {
  int64_t rows = 0;
  int length = 0;  ///< of a row, at most kLongestRow and a multiple of 4.
  float scale = 1;
  bool bf16 = false;
};

inline constexpr int kLongestRow = 1024;

/// probabilities = softmax(scale * scores) of each row.
cudaError_t softmax_rows(const SoftmaxShape& shape, const float* scores, void* probabilities,
                         cudaStream_t stream);

/// d_scores = scale * p * (d_p - sum(p * d_p)) of each row; of the probabilities' type.
cudaError_t softmax_rows_backward(const SoftmaxShape& shape, const void* probabilities,
                                  const float* d_probabilities, void* d_scores,
                                  cudaStream_t stream);

}  // namespace ddpm::cuda
