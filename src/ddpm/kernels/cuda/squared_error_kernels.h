#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// Images of a prediction and of a float32 target, one behind the other, whose elements have the
/// same order.
struct SquaredErrorShape {
  int64_t images = 0;    ///< At most 65535.
  int64_t elements = 0;  ///< Of an image.
  bool bf16 = false;     ///< Type of the prediction: bfloat16, or float32.
};

/// float32 numbers of scratch that squared_error needs; 0 if none.
int64_t squared_error_scratch(const SquaredErrorShape& shape);

/// losses [images] float32: means of (prediction - target)^2.
cudaError_t squared_error(const SquaredErrorShape& shape, const void* prediction,
                          const float* target, float* losses, float* scratch, cudaStream_t stream);

/// d_prediction = 2 (prediction - target) d_losses / elements, of the prediction's type.
cudaError_t squared_error_backward(const SquaredErrorShape& shape, const void* prediction,
                                   const float* target, const float* d_losses, void* d_prediction,
                                   cudaStream_t stream);

}  // namespace ddpm::cuda
