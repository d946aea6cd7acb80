#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/softmax_kernels.h"
#include "ddpm/kernels/cuda/warp_sum.cuh"

// A warp takes a row, and keeps it in its registers: lane l holds the four values from 4 l on, from
// 4 (l + 32) on, and so on.
namespace ddpm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kFour = 4;

__device__ void load_quad(const float* from, float (&out)[kFour]) {
  const float4 four = *reinterpret_cast<const float4*>(from);
  out[0] = four.x;
  out[1] = four.y;
  out[2] = four.z;
  out[3] = four.w;
}
__device__ void load_quad(const __nv_bfloat16* from, float (&out)[kFour]) {
  const uint2 words = *reinterpret_cast<const uint2*>(from);
  out[0] = __uint_as_float(words.x << 16);
  out[1] = __uint_as_float(words.x & 0xffff0000u);
  out[2] = __uint_as_float(words.y << 16);
  out[3] = __uint_as_float(words.y & 0xffff0000u);
}
__device__ void store_quad(float* to, const float (&values)[kFour]) {
  *reinterpret_cast<float4*>(to) = make_float4(values[0], values[1], values[2], values[3]);
}
__device__ void store_quad(__nv_bfloat16* to, const float (&values)[kFour]) {
  uint2 words;
  auto* pairs = reinterpret_cast<__nv_bfloat162*>(&words);
  pairs[0] = __floats2bfloat162_rn(values[0], values[1]);
  pairs[1] = __floats2bfloat162_rn(values[2], values[3]);
  *reinterpret_cast<uint2*>(to) = words;
}

__device__ float warp_max(float value) {
  for (int offset = kWarp / 2; offset > 0; offset /= 2) {
    value = fmaxf(value, __shfl_xor_sync(0xffffffff, value, offset));
  }
  return value;
}

__device__ int64_t row_of_warp() {
  return (static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) / kWarp;
}
__device__ int column_of_quad(int quad) {
  return (quad * kWarp + static_cast<int>(threadIdx.x) % kWarp) * kFour;
}

template <typename T, int kQuads>
__global__ void __launch_bounds__(kThreads)
    softmax_kernel(SoftmaxShape shape, const float* scores, T* probabilities) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const int64_t row = row_of_warp();
  if (row >= shape.rows) return;
  float values[kQuads][kFour];
  float most = -INFINITY;
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    if (column_of_quad(q) >= shape.length) continue;
    load_quad(scores + row * shape.length + column_of_quad(q), values[q]);
#pragma unroll
    for (float& value : values[q]) {
      value *= shape.scale;
      most = fmaxf(most, value);
    }
  }
  most = warp_max(most);
  float sum = 0;
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    if (column_of_quad(q) >= shape.length) continue;
#pragma unroll
    for (float& value : values[q]) {
      value = __expf(value - most);
      sum += value;
    }
  }
  const float factor = 1.0f / warp_sum(sum);
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    if (column_of_quad(q) >= shape.length) continue;
#pragma unroll
    for (float& value : values[q]) value *= factor;
    store_quad(probabilities + row * shape.length + column_of_quad(q), values[q]);
  }
}

template <typename T, int kQuads>
__global__ void __launch_bounds__(kThreads)
    softmax_backward_kernel(SoftmaxShape shape, const T* probabilities,
                            const float* d_probabilities, T* d_scores) {
  const int64_t row = row_of_warp();
  if (row >= shape.rows) return;
  float p[kQuads][kFour], d_p[kQuads][kFour];
  float sum = 0;
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    if (column_of_quad(q) >= shape.length) continue;
    load_quad(probabilities + row * shape.length + column_of_quad(q), p[q]);
    load_quad(d_probabilities + row * shape.length + column_of_quad(q), d_p[q]);
#pragma unroll
    for (int i = 0; i < kFour; ++i) sum += p[q][i] * d_p[q][i];
  }
  sum = warp_sum(sum);
#pragma unroll
  for (int q = 0; q < kQuads; ++q) {
    if (column_of_quad(q) >= shape.length) continue;
#pragma unroll
    for (int i = 0; i < kFour; ++i) p[q][i] *= shape.scale * (d_p[q][i] - sum);
    store_quad(d_scores + row * shape.length + column_of_quad(q), p[q]);
  }
}

/// What launch.operator()<quads a lane>(blocks) answers.
template <typename Launch>
cudaError_t with_quads(const SoftmaxShape& shape, Launch&& launch) {
  if (shape.rows == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>((shape.rows * kWarp + kThreads - 1) / kThreads);
  const int quads = (shape.length + kFour * kWarp - 1) / (kFour * kWarp);
  if (quads <= 1) return launch.template operator()<1>(blocks);
  if (quads <= 2) return launch.template operator()<2>(blocks);
  return launch.template operator()<kLongestRow / (kFour * kWarp)>(blocks);
}

template <typename T>
cudaError_t softmax(const SoftmaxShape& shape, const float* scores, T* probabilities,
                    cudaStream_t stream) {
  return with_quads(shape, [&]<int kQuads>(unsigned blocks) {
    return launch_early(
        {.blocks = blocks, .threads = kThreads, .shared_bytes = 0, .stream = stream},
        softmax_kernel<T, kQuads>, shape, scores, probabilities);
  });
}

template <typename T>
cudaError_t softmax_backward(const SoftmaxShape& shape, const T* probabilities,
                             const float* d_probabilities, T* d_scores, cudaStream_t stream) {
  return with_quads(shape, [&]<int kQuads>(unsigned blocks) {
    softmax_backward_kernel<T, kQuads>
        <<<blocks, kThreads, 0, stream>>>(shape, probabilities, d_probabilities, d_scores);
    return cudaGetLastError();
  });
}

}  // namespace

cudaError_t softmax_rows(const SoftmaxShape& shape, const float* scores, void* probabilities,
                         cudaStream_t stream) {
  if (shape.bf16) {
    return softmax(shape, scores, static_cast<__nv_bfloat16*>(probabilities), stream);
  }
  return softmax(shape, scores, static_cast<float*>(probabilities), stream);
}

cudaError_t softmax_rows_backward(const SoftmaxShape& shape, const void* probabilities,
                                  const float* d_probabilities, void* d_scores,
                                  cudaStream_t stream) {
  if (shape.bf16) {
    return softmax_backward(shape, static_cast<const __nv_bfloat16*>(probabilities),
                            d_probabilities, static_cast<__nv_bfloat16*>(d_scores), stream);
  }
  return softmax_backward(shape, static_cast<const float*>(probabilities), d_probabilities,
                          static_cast<float*>(d_scores), stream);
}

}  // namespace ddpm::cuda
