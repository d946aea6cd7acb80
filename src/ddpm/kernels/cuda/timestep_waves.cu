#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/timestep_waves_kernels.h"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 128;

/// A thread takes a sine and its cosine.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    waves_kernel(WavesShape shape, const void* t, T* waves) {
  let_next_kernel_begin();
  const int i = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  const int64_t row = blockIdx.y;
  // The order of LibTorch's operations, which divide by a number as they multiply by its inverse.
  const float frequency = expf(static_cast<float>(i) * -shape.log_period * shape.inverse_length);
  wait_for_previous_kernel();
  T* const to = waves + row * shape.size;
  if (i == 0 && shape.size > 2 * shape.half) to[2 * shape.half] = static_cast<T>(0.0f);
  if (i >= shape.half) return;
  const float time = shape.whole ? static_cast<float>(static_cast<const int64_t*>(t)[row])
                                 : static_cast<const float*>(t)[row];
  const float angle = time * shape.scale * frequency;
  to[i + (shape.cos_first ? 0 : shape.half)] = static_cast<T>(cosf(angle));
  to[i + (shape.cos_first ? shape.half : 0)] = static_cast<T>(sinf(angle));
}

template <typename T>
cudaError_t launch_waves(const WavesShape& shape, const void* t, void* waves, cudaStream_t stream) {
  const int blocks = shape.half / kThreads + 1;  // one at least, for the 0 of an odd size
  return launch_early(
      {.blocks = dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(shape.rows)),
       .threads = kThreads,
       .shared_bytes = 0,
       .stream = stream},
      waves_kernel<T>, shape, t, static_cast<T*>(waves));
}

}  // namespace

cudaError_t timestep_waves(const WavesShape& shape, const void* t, void* waves,
                           cudaStream_t stream) {
  if (shape.rows == 0 || shape.size == 0) return cudaSuccess;
  return shape.bf16 ? launch_waves<__nv_bfloat16>(shape, t, waves, stream)
                    : launch_waves<float>(shape, t, waves, stream);
}

}  // namespace ddpm::cuda
