#include <algorithm>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/group_norm_sums_kernels.h"
#include "ddpm/kernels/cuda/vector_types.cuh"

namespace ddpm::cuda {
namespace {

using bf16 = __nv_bfloat16;

constexpr int kThreads = 256;
constexpr int kPixelsAtOnce = 4;

/// Adds a vector's values and their squares.
__device__ __forceinline__ void add_values(const float (&values)[kVector],
                                           float2 (&sums)[kVector]) {
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    sums[i] = {sums[i].x + values[i], fmaf(values[i], values[i], sums[i].y)};
  }
}

__device__ __forceinline__ void add_rounded(const float (&added)[kVector],
                                            float (&values)[kVector]) {
#pragma unroll
  for (int i = 0; i < kVector; ++i) {
    values[i] = __bfloat162float(__float2bfloat16_rn(values[i] + added[i]));
  }
}

/// A block for a part: each thread has eight channels and every so many pixels, to which it adds
/// their bias first, if there is one.
template <bool kAddsBias>
__global__ void __launch_bounds__(kThreads)
    sum_parts_kernel(int pixels, int channels, bf16* map, const bf16* bias, float2* sums) {
  __shared__ float2 rows[kThreads * kVector];  // [row, channel]
  let_next_kernel_begin();
  const int vectors = channels / kVector, num_rows = kThreads / vectors;
  const int row = static_cast<int>(threadIdx.x) / vectors;
  const int channel = (static_cast<int>(threadIdx.x) - row * vectors) * kVector;
  bf16* const part = map + static_cast<int64_t>(blockIdx.x) * pixels * channels + channel;
  float added[kVector] = {};
  if (kAddsBias && row < num_rows) unpack(load_packed(bias + channel), added);
  wait_for_previous_kernel();
  if (row < num_rows) {
    float2 own[kVector] = {};
    for (int first = row; first < pixels; first += kPixelsAtOnce * num_rows) {
      Packed<bf16> loaded[kPixelsAtOnce];
#pragma unroll
      for (int k = 0; k < kPixelsAtOnce; ++k) {
        const int pixel = min(first + k * num_rows, pixels - 1);
        loaded[k] = load_packed(part + pixel * channels);
      }
#pragma unroll
      for (int k = 0; k < kPixelsAtOnce; ++k) {
        const int pixel = first + k * num_rows;
        if (pixel >= pixels) break;
        float values[kVector];
        unpack(loaded[k], values);
        if constexpr (kAddsBias) {
          add_rounded(added, values);
          store_vector(part + pixel * channels, values);
        }
        add_values(values, own);
      }
    }
#pragma unroll
    for (int i = 0; i < kVector; ++i) rows[row * channels + channel + i] = own[i];
  }
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.x); c < channels; c += kThreads) {
    float2 sum{0, 0};
    for (int r = 0; r < num_rows; ++r) {
      const float2 more = rows[r * channels + c];
      sum = {sum.x + more.x, sum.y + more.y};
    }
    sums[static_cast<int64_t>(blockIdx.x) * channels + c] = sum;
  }
}

using SumPartsKernel = void (*)(int, int, bf16*, const bf16*, float2*);

cudaError_t launch_sums(SumPartsKernel kernel, const SumsShape& shape, int parts, void* map,
                        const void* bias, float* sums, cudaStream_t stream) {
  return launch_early({.blocks = dim3(static_cast<unsigned>(shape.images * parts)),
                       .threads = dim3(kThreads),
                       .shared_bytes = 0,
                       .stream = stream},
                      kernel, shape.pixels / parts, shape.channels, static_cast<bf16*>(map),
                      static_cast<const bf16*>(bias), reinterpret_cast<float2*>(sums));
}

}  // namespace

int parts_of_at_most(int most_pixels, const SumsShape& shape) {
  int pixels = std::min(shape.pixels, most_pixels);
  while (shape.pixels % pixels != 0) --pixels;
  return shape.pixels / pixels;
}

cudaError_t sum_parts(const SumsShape& shape, int parts, const void* map, float* sums,
                      cudaStream_t stream) {
  // It is written only where there is a bias.
  auto* const values = const_cast<bf16*>(static_cast<const bf16*>(map));
  return launch_sums(sum_parts_kernel<false>, shape, parts, values, /*bias=*/nullptr, sums, stream);
}

cudaError_t add_bias_and_sum_parts(const SumsShape& shape, int parts, const void* bias, void* map,
                                   float* sums, cudaStream_t stream) {
  return launch_sums(sum_parts_kernel<true>, shape, parts, map, bias, sums, stream);
}

}  // namespace ddpm::cuda
