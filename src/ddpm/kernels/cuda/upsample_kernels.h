#pragma once

#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// The small maps [images, height, width, channels], channels innermost (NHWC) and a multiple of 8.
struct UpsampleShape {
  int images = 0;
  int height = 0;
  int width = 0;
  int channels = 0;
  bool bf16 = false;  ///< bfloat16, or float32.
};

/// y [images, 2 height, 2 width, channels]: every pixel four times.
cudaError_t upsample_nearest_2x(const UpsampleShape& shape, const void* x, void* y,
                                cudaStream_t stream);

/// d_x: sums of four, in float32.
cudaError_t upsample_nearest_2x_backward(const UpsampleShape& shape, const void* d_y, void* d_x,
                                         cudaStream_t stream);

}  // namespace ddpm::cuda
