#pragma once

#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// Maps [images, height, width, channels] (NHWC) of bfloat16 or float32; channels a multiple of 8,
/// less than 2^31 values with the padding.
struct PadShape {
  int images = 0;
  int height = 0;
  int width = 0;
  int channels = 0;
  bool bf16 = false;
};

/// y [images, height + 1, width + 1, channels]: x, zeros to the right of it and below.
cudaError_t pad_right_and_bottom(const PadShape& shape, const void* x, void* y,
                                 cudaStream_t stream);
/// The same with zeros to the left of x and above it.
cudaError_t pad_left_and_top(const PadShape& shape, const void* x, void* y, cudaStream_t stream);
/// d_x: d_y without its last row and column, plus d_skip like d_x; null: nothing.
cudaError_t pad_right_and_bottom_backward(const PadShape& shape, const void* d_y,
                                          const void* d_skip, void* d_x, cudaStream_t stream);

}  // namespace ddpm::cuda
