#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/small_part_sums_kernels.h"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kVector = 8;       // channels of 16 bytes
constexpr int kPartPixels = 32;  // at most

/// A block for a part: each thread has eight channels and every so many pixels.
__global__ void __launch_bounds__(kThreads)
    sum_small_parts_kernel(int pixels, int channels, const uint4* map, float2* sums) {
  __shared__ float2 rows[kThreads * kVector];  // [row, channel]
  let_next_kernel_begin();
  const int vectors = channels / kVector, num_rows = kThreads / vectors;
  const int row = static_cast<int>(threadIdx.x) / vectors;
  const int vector = static_cast<int>(threadIdx.x) - row * vectors;
  const uint4* const part = map + static_cast<int64_t>(blockIdx.x) * pixels * vectors + vector;
  wait_for_previous_kernel();
  if (row < num_rows) {
    float2 own[kVector] = {};
#pragma unroll 4
    for (int pixel = row; pixel < pixels; pixel += num_rows) {
      const uint4 values = part[pixel * vectors];
      const uint32_t twos[4] = {values.x, values.y, values.z, values.w};
#pragma unroll
      for (int i = 0; i < kVector; ++i) {
        const float value =
            __uint_as_float(i % 2 == 0 ? twos[i / 2] << 16 : twos[i / 2] & 0xFFFF0000U);
        own[i] = {own[i].x + value, fmaf(value, value, own[i].y)};
      }
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) rows[row * channels + vector * kVector + i] = own[i];
  }
  __syncthreads();
  for (int channel = static_cast<int>(threadIdx.x); channel < channels; channel += kThreads) {
    float2 sum{0, 0};
    for (int r = 0; r < num_rows; ++r) {
      const float2 more = rows[r * channels + channel];
      sum = {sum.x + more.x, sum.y + more.y};
    }
    sums[static_cast<int64_t>(blockIdx.x) * channels + channel] = sum;
  }
}

}  // namespace

int small_parts(const SumsShape& shape) {
  int pixels = shape.pixels < kPartPixels ? shape.pixels : kPartPixels;
  while (shape.pixels % pixels != 0) --pixels;
  return shape.pixels / pixels;
}

cudaError_t sum_small_parts(const SumsShape& shape, int parts, const void* map, float* sums,
                            cudaStream_t stream) {
  return launch_early({.blocks = dim3(static_cast<unsigned>(shape.images * parts)),
                       .threads = dim3(kThreads),
                       .shared_bytes = 0,
                       .stream = stream},
                      sum_small_parts_kernel, shape.pixels / parts, shape.channels,
                      static_cast<const uint4*>(map), reinterpret_cast<float2*>(sums));
}

}  // namespace ddpm::cuda
