#pragma once

#include "ddpm/kernels/cuda/relu_batch_norm.cuh"

// Sums of a map's channels in two steps, each in an order that depends on the shape alone.
namespace ddpm::cuda {

/// Adds up a thread's values over the block's pixels, into the slice's row of `partial`.
template <int kSums>
__device__ void write_partial(const BatchNormShape& shape, const Slices& cut, const Share& share,
                              const float (&values)[kSums][kVector], float* partial) {
  __shared__ float shared[kSums][kNormThreads * kVector];
#pragma unroll
  for (int k = 0; k < kSums; ++k) store_vector(shared[k] + threadIdx.x * kVector, values[k]);
  __syncthreads();
  const int64_t rows = static_cast<int64_t>(shape.images) * cut.slices;
  const int64_t own = share.image * cut.slices + share.slice;
  const int width = cut.lanes * kVector;
  for (int i = static_cast<int>(threadIdx.x); i < kSums * width; i += kNormThreads) {
    const int k = i / width;
    const int c = i - k * width;
    const int channel = static_cast<int>(blockIdx.x) * width + c;
    if (channel >= shape.channels) continue;
    float sum = 0;
#pragma unroll 8
    for (int r = 0; r < cut.rows; ++r) sum += shared[k][r * width + c];
    partial[(k * rows + own) * shape.channels + channel] = sum;
  }
}

// Then a block takes 8 channels, of which a thread holds 4.
inline constexpr int kFinishThreads = 256;
inline constexpr int kFinishQuads = kVector / 4;
inline constexpr int kFinishRows = kFinishThreads / kFinishQuads;  // at a time
inline constexpr int kFinishAhead = 8;                             // loads of a thread

inline unsigned finish_blocks(const BatchNormShape& shape) {
  return static_cast<unsigned>(shape.channels / kVector);
}

/// The sums of a thread's rows of `from` [rows, channels], of the 4 channels that it points to.
__device__ inline void sum_rows_of_thread(int64_t rows, int channels, const float* from,
                                          double (&sums)[4]) {
  const int64_t step = static_cast<int64_t>(kFinishRows) * channels;
  for (int64_t row = threadIdx.x / kFinishQuads; row < rows; row += kFinishAhead * kFinishRows) {
    const float* const at = from + row * channels;
    float4 loaded[kFinishAhead];
#pragma unroll
    for (int k = 0; k < kFinishAhead; ++k) {
      loaded[k] = row + k * kFinishRows < rows ? *reinterpret_cast<const float4*>(at + k * step)
                                               : make_float4(0.0f, 0.0f, 0.0f, 0.0f);
    }
    float4 total = loaded[0];
#pragma unroll
    for (int k = 1; k < kFinishAhead; ++k) {
      total.x += loaded[k].x;
      total.y += loaded[k].y;
      total.z += loaded[k].z;
      total.w += loaded[k].w;
    }
    sums[0] += static_cast<double>(total.x);
    sums[1] += static_cast<double>(total.y);
    sums[2] += static_cast<double>(total.z);
    sums[3] += static_cast<double>(total.w);
  }
}

/// The sums over all rows of `partial` of channel 8 * blockIdx.x + threadIdx.x, in the block's
/// first 8 threads.
template <int kSums>
__device__ void sum_partial_rows(int64_t rows, int channels, const float* partial,
                                 double (&sums)[kSums]) {
  __shared__ double shared[kSums][kFinishRows][kVector];
  const int quad = static_cast<int>(threadIdx.x) % kFinishQuads * 4;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kVector + quad;
#pragma unroll
  for (int k = 0; k < kSums; ++k) {
    double own[4] = {};
    sum_rows_of_thread(rows, channels, partial + k * rows * channels + first, own);
#pragma unroll
    for (int c = 0; c < 4; ++c) shared[k][threadIdx.x / kFinishQuads][quad + c] = own[c];
  }
  __syncthreads();
  constexpr int kHelpers = kFinishThreads / (kSums * kVector);  // of a warp, for a sum of a channel
  static_assert(kHelpers <= 32 && (kHelpers & (kHelpers - 1)) == 0);
  const int helper = static_cast<int>(threadIdx.x) % kHelpers;
  const int k = static_cast<int>(threadIdx.x) / kHelpers / kVector;
  const int c = static_cast<int>(threadIdx.x) / kHelpers % kVector;
  double sum = 0;
#pragma unroll
  for (int r = 0; r < kFinishRows; r += kHelpers) sum += shared[k][r + helper][c];
#pragma unroll
  for (int distance = kHelpers / 2; distance > 0; distance /= 2) {
    sum += __shfl_xor_sync(0xffffffffu, sum, distance);
  }
  __shared__ double totals[kSums][kVector];
  if (helper == 0) totals[k][c] = sum;
  __syncthreads();
#pragma unroll
  for (int i = 0; i < kSums; ++i) sums[i] = totals[i][threadIdx.x % kVector];
}

}  // namespace ddpm::cuda
