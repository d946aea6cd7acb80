#pragma once

#include <cstdint>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/attention_few_pixels_kernels.h"
#include "ddpm/kernels/cuda/tensor_core.cuh"

// What a block computes of attention: for 16 queries and 64 keys of one head scores, their softmax
// by the keys that it has, and the sum of these keys' values.
namespace ddpm::cuda::attention_tile {

using T = __nv_bfloat16;
inline constexpr int kThreads = 256, kWarps = kThreads / 32;
inline constexpr int kQueries = 16, kKeys = 64;
inline constexpr int kMostChannels = 256;
inline constexpr int kScoreStride = kKeys + 8;  // eight rows lie in different banks, as all here
static_assert(kKeys == 8 * kWarps);

/// What of qkv the block reads.
struct AttentionPlace {
  const T *queries, *keys, *values;
  int stride;      // elements from one pixel to the next
  int keys_there;  // of kKeys

  __device__ AttentionPlace(const AttentionShape& shape, const T* qkv) {
    const int image = static_cast<int>(blockIdx.z) / shape.heads;
    const int head = static_cast<int>(blockIdx.z) - image * shape.heads;
    const int first_key = static_cast<int>(blockIdx.x) * kKeys, all = shape.heads * shape.channels;
    stride = 3 * all;
    const T* const first =
        qkv + static_cast<int64_t>(image) * shape.length * stride + head * shape.channels;
    queries = first + static_cast<int64_t>(blockIdx.y) * kQueries * stride;
    keys = first + all + static_cast<int64_t>(first_key) * stride;
    values = keys + all;
    keys_there = min(kKeys, shape.length - first_key);
  }
};

/// Starts the copies of rows; those that are not there are zeros.
inline __device__ void copy_rows(const AttentionShape& shape, const T* from, int from_stride,
                                 int rows, int are_there, T* to) {
  const int vectors = shape.channels / 8, stride = shape.channels + 8;
#pragma unroll 4
  for (int i = static_cast<int>(threadIdx.x); i < rows * vectors; i += kThreads) {
    const int row = i / vectors, vector = i - row * vectors;
    const bool is_there = row < are_there;
    copy_async_or_zero(to + row * stride + vector * 8,
                       from + static_cast<int64_t>(is_there ? row : 0) * from_stride + vector * 8,
                       is_there);
  }
}

/// A warp's scores of 16 queries and its 8 keys, in the layout of mma.m16n8k16.
inline __device__ void add_scores(const AttentionShape& shape, const T* queries, const T* keys,
                                  float (&scores)[4]) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int stride = shape.channels + 8;
  uint32_t query = shared_address(queries + lane % 16 * stride + lane / 16 * 8);
  uint32_t key = shared_address(keys + (warp * 8 + lane % 8) * stride + lane / 8 * 8);
#pragma unroll 4
  for (int channel = 0; channel < shape.channels; channel += 32) {
    uint32_t a[2][4], b[4];
    load_matrices(a[0], query);
    load_matrices(a[1], query + 16 * sizeof(T));
    load_matrices(b, key);
    multiply_add(scores, a[0], b);
    multiply_add(scores, a[1], b + 2);
    query += 32 * sizeof(T);
    key += 32 * sizeof(T);
  }
}

/// The greatest and the sum of what a row's four lanes have.
__device__ __forceinline__ float most_of_row(float value) {
  value = fmaxf(value, __shfl_xor_sync(~0U, value, 1));
  return fmaxf(value, __shfl_xor_sync(~0U, value, 2));
}
__device__ __forceinline__ float sum_of_row(float value) {
  value += __shfl_xor_sync(~0U, value, 1);
  return value + __shfl_xor_sync(~0U, value, 2);
}

/// Of the block's keys, by query and warp.
struct RowStatistics {
  float most[kWarps][kQueries], sum[kWarps][kQueries];

  __device__ float most_of(int query) const {
    float all = most[0][query];
#pragma unroll
    for (int warp = 1; warp < kWarps; ++warp) all = fmaxf(all, most[warp][query]);
    return all;
  }
  __device__ float sum_of(int query) const {
    float all = 0;
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) all += sum[warp][query];
    return all;
  }
};

/// Puts 2^(score - the row's greatest) into `shares` [kQueries, kScoreStride], and what the rows
/// add up to.
///
/// @param scale of scores, with log2(e).
inline __device__ void take_exponents(float (&scores)[4], float scale, int keys_there,
                                      RowStatistics& statistics, T* shares) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int key = warp * 8 + lane % 4 * 2;
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    scores[i] = key + i % 2 < keys_there ? scores[i] * scale : -INFINITY;
  }
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const float most = most_of_row(fmaxf(scores[2 * half], scores[2 * half + 1]));
    if (lane % 4 == 0) statistics.most[warp][lane / 4 + 8 * half] = most;
  }
  __syncthreads();
#pragma unroll
  for (int half = 0; half < 2; ++half) {
    const int query = lane / 4 + 8 * half;
    const float most = statistics.most_of(query);
    const float first = exp2f(scores[2 * half] - most), second = exp2f(scores[2 * half + 1] - most);
    *reinterpret_cast<__nv_bfloat162*>(shares + query * kScoreStride + key) =
        __floats2bfloat162_rn(first, second);
    const float sum = sum_of_row(first + second);
    if (lane % 4 == 0) statistics.sum[warp][query] = sum;
  }
}

/// A warp's sums of values, weighted by shares: of 16 queries and an eighth of the channels.
inline __device__ void add_values(const AttentionShape& shape, const T* shares, const T* values,
                                  float (&sums)[kMostChannels / 64][4]) {
  const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
  const int stride = shape.channels + 8;
  uint32_t a[kKeys / 16][4];
  const uint32_t share = shared_address(shares + lane % 16 * kScoreStride + lane / 16 * 8);
#pragma unroll
  for (int i = 0; i < kKeys / 16; ++i) load_matrices(a[i], share + i * 16 * sizeof(T));
  const T* const first = values + lane * stride + warp * (shape.channels / kWarps);
#pragma unroll
  for (int n = 0; n < kMostChannels / 64; ++n) {
    if (n * 64 >= shape.channels) break;
#pragma unroll
    for (int half = 0; half < kKeys / 32; ++half) {  // 32 keys
      uint32_t b[4];
      load_turned_matrices(b, shared_address(first + half * 32 * stride + n * 8));
      multiply_add(sums[n], a[2 * half], b);
      multiply_add(sums[n], a[2 * half + 1], b + 2);
    }
  }
}

}  // namespace ddpm::cuda::attention_tile
