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

struct SumParts {
  int pixels, channels;  // of a part
  int parts;             // of an image
  InnerMap inner;
  const bf16* from;
  bf16* map;
  const bf16* bias;
  float2* sums;
};

/// Where a part's pixels are read.
template <bool kInner>
struct PartSource {
  const SumParts& s;
  const bf16* base;
  int first, line;  // of the part in its image; of the image's first line in all of `from`

  __device__ PartSource(const SumParts& sum, int channel) : s(sum), base(sum.from + channel) {
    const int part = static_cast<int>(blockIdx.x);
    const int image = kInner ? part / s.parts : 0;
    first = (part - image * s.parts) * s.pixels;
    line = image * s.inner.from_height + 1;
    if constexpr (!kInner) base += static_cast<int64_t>(part) * s.pixels * s.channels;
  }
  __device__ const bf16* of(int pixel) const {
    if constexpr (!kInner) return base + pixel * s.channels;
    const int at = first + pixel, row = at / s.inner.width;
    const int column = at - row * s.inner.width + 1;
    return base + (static_cast<int64_t>(line + row) * s.inner.from_width + column) * s.channels;
  }
};

/// A block for a part: each thread has eight channels and every so many pixels, to which it adds
/// their bias first, if there is one.
template <bool kAddsBias, bool kInner>
__global__ void __launch_bounds__(kThreads) sum_parts_kernel(const SumParts s) {
  __shared__ float2 rows[kThreads * kVector];  // [row, channel]
  let_next_kernel_begin();
  const int pixels = s.pixels, channels = s.channels;
  const int vectors = channels / kVector, num_rows = kThreads / vectors;
  const int row = static_cast<int>(threadIdx.x) / vectors;
  const int channel = (static_cast<int>(threadIdx.x) - row * vectors) * kVector;
  const PartSource<kInner> source(s, channel);
  bf16* const part = s.map + static_cast<int64_t>(blockIdx.x) * pixels * channels + channel;
  float added[kVector] = {};
  if (kAddsBias && row < num_rows) unpack(load_packed(s.bias + channel), added);
  wait_for_previous_kernel();
  if (row < num_rows) {
    float2 own[kVector] = {};
    for (int first = row; first < pixels; first += kPixelsAtOnce * num_rows) {
      Packed<bf16> loaded[kPixelsAtOnce];
#pragma unroll
      for (int k = 0; k < kPixelsAtOnce; ++k) {
        const int pixel = min(first + k * num_rows, pixels - 1);
        loaded[k] = load_packed(source.of(pixel));
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
    s.sums[static_cast<int64_t>(blockIdx.x) * channels + c] = sum;
  }
}

cudaError_t launch_sums(void (*kernel)(const SumParts), const SumsShape& shape, const SumParts& sum,
                        cudaStream_t stream) {
  return launch_early({.blocks = dim3(static_cast<unsigned>(shape.images * sum.parts)),
                       .threads = dim3(kThreads),
                       .shared_bytes = 0,
                       .stream = stream},
                      kernel, sum);
}

SumParts sum_of(const SumsShape& shape, int parts, const void* from, void* map, float* sums) {
  return {.pixels = shape.pixels / parts,
          .channels = shape.channels,
          .parts = parts,
          .inner = {},
          .from = static_cast<const bf16*>(from),
          .map = static_cast<bf16*>(map),
          .bias = nullptr,
          .sums = reinterpret_cast<float2*>(sums)};
}

}  // namespace

int parts_of_at_most(int most_pixels, const SumsShape& shape) {
  int pixels = std::min(shape.pixels, most_pixels);
  while (shape.pixels % pixels != 0) --pixels;
  return shape.pixels / pixels;
}

cudaError_t sum_parts(const SumsShape& shape, int parts, const void* map, float* sums,
                      cudaStream_t stream) {
  return launch_sums(sum_parts_kernel<false, false>, shape,
                     sum_of(shape, parts, map, /*map=*/nullptr, sums), stream);
}

cudaError_t add_bias_and_sum_parts(const SumsShape& shape, int parts, const void* bias, void* map,
                                   float* sums, cudaStream_t stream) {
  SumParts sum = sum_of(shape, parts, map, map, sums);
  sum.bias = static_cast<const bf16*>(bias);
  return launch_sums(sum_parts_kernel<true, false>, shape, sum, stream);
}

cudaError_t add_bias_and_sum_inner_parts(const SumsShape& shape, const InnerMap& inner, int parts,
                                         const void* bias, const void* from, void* map, float* sums,
                                         cudaStream_t stream) {
  SumParts sum = sum_of(shape, parts, from, map, sums);
  sum.bias = static_cast<const bf16*>(bias);
  sum.inner = inner;
  return launch_sums(sum_parts_kernel<true, true>, shape, sum, stream);
}

}  // namespace ddpm::cuda
