#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/q_sample_uint8_kernels.h"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 256;

__device__ __forceinline__ int64_t offset_of(const int64_t (&strides)[4], int image, int channel,
                                             int row, int column) {
  return image * strides[0] + channel * strides[1] + row * strides[2] + column * strides[3];
}

/// A thread makes one element, in the order in which they lie.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    q_sample_kernel(const __grid_constant__ QSampleBuffers of, uint32_t elements, float* x_start,
                    T* x_t) {
  let_next_kernel_begin();
  const uint32_t i = blockIdx.x * kThreads + threadIdx.x;
  const auto channels = static_cast<uint32_t>(of.channels);
  const auto width = static_cast<uint32_t>(of.width);
  const auto height = static_cast<uint32_t>(of.height);
  const auto channel = static_cast<int>(i % channels);
  const auto column = static_cast<int>(i / channels % width);
  const auto row = static_cast<int>(i / channels / width % height);
  const auto image = static_cast<int>(i / channels / width / height);
  wait_for_previous_kernel();
  if (i >= elements) return;
  const bool flips = of.flip != nullptr && of.flip[image];
  const int from = flips ? of.width - 1 - column : column;
  const auto pixel =
      static_cast<float>(of.pixels[offset_of(of.pixel_strides, image, channel, row, from)]);
  const float noise = of.noise[offset_of(of.noise_strides, image, channel, row, column)];
  const int64_t t = of.t[image];
  const float x = __fsub_rn(__fdiv_rn(pixel, 127.5f), 1.0f);
  x_start[i] = x;
  x_t[i] = static_cast<T>(__fadd_rn(__fmul_rn(of.sqrt_alphas_cumprod[t], x),
                                    __fmul_rn(of.sqrt_one_minus_alphas_cumprod[t], noise)));
}

template <typename T>
cudaError_t launch_q_sample(const QSampleBuffers& of, float* x_start, void* x_t,
                            cudaStream_t stream) {
  const auto elements = static_cast<uint32_t>(of.images) * static_cast<uint32_t>(of.channels) *
                        static_cast<uint32_t>(of.height) * static_cast<uint32_t>(of.width);
  return launch_early({.blocks = dim3((elements + kThreads - 1) / kThreads),
                       .threads = dim3(kThreads),
                       .shared_bytes = 0,
                       .stream = stream},
                      q_sample_kernel<T>, of, elements, x_start, static_cast<T*>(x_t));
}

}  // namespace

cudaError_t q_sample_uint8(const QSampleBuffers& buffers, float* x_start, void* x_t,
                           cudaStream_t stream) {
  return buffers.bf16 ? launch_q_sample<__nv_bfloat16>(buffers, x_start, x_t, stream)
                      : launch_q_sample<float>(buffers, x_start, x_t, stream);
}

}  // namespace ddpm::cuda
