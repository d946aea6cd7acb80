#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// What q_sample_uint8 reads; batches have strides of any order, in elements.
struct QSampleBuffers {
  int images = 0;
  int channels = 0;
  int height = 0;
  int width = 0;
  const uint8_t* pixels = nullptr;
  int64_t pixel_strides[4] = {};  ///< N, C, H, W.
  const float* noise = nullptr;
  int64_t noise_strides[4] = {};
  const bool* flip = nullptr;  ///< [images]; null: none.
  const int64_t* t = nullptr;  ///< [images]
  const float* sqrt_alphas_cumprod = nullptr;
  const float* sqrt_one_minus_alphas_cumprod = nullptr;
  bool bf16 = false;  ///< Type of x_t: bfloat16, or float32.
};

/// x_start in float32 and x_t, both channels_last, of fewer than 2^31 elements. Each operation is
/// rounded, as those of tensors are.
cudaError_t q_sample_uint8(const QSampleBuffers& buffers, float* x_start, void* x_t,
                           cudaStream_t stream);

}  // namespace ddpm::cuda
