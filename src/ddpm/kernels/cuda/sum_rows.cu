#include <algorithm>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/split_sum.cuh"
#include "ddpm/kernels/cuda/sum_rows_kernels.h"
#include "ddpm/kernels/cuda/vector_types.cuh"

namespace ddpm::cuda {
namespace {

// Sums over rows: each of `blocks` blocks takes as many rows and writes one partial row; a second
// launch sums these.
constexpr int kThreads = 256;
constexpr int kSumBlocks = 264;
constexpr int kMostLanes = 256;
constexpr int kLoads = 8;  // of a thread, started before the first is needed

int64_t sum_blocks(const MapShape& shape) {
  constexpr int64_t kRowsEach = 64;
  return std::clamp<int64_t>((shape.rows + kRowsEach - 1) / kRowsEach, 1, kSumBlocks);
}

/// Channels [8 * (first lane), ..) of a slice of rows.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_slices_kernel(int64_t rows, int channels, int lanes, const T* map, float* partial) {
  __shared__ float shared[kThreads * kVector];
  const int lane = static_cast<int>(threadIdx.x) % lanes;
  const int row = static_cast<int>(threadIdx.x) / lanes;
  const int rows_at_once = kThreads / lanes;
  const int channel = (static_cast<int>(blockIdx.y) * lanes + lane) * kVector;
  const int64_t each = (rows + gridDim.x - 1) / gridDim.x;
  const int64_t end = min(rows, (blockIdx.x + 1) * each);
  float total[kVector] = {};
  if (row < rows_at_once && channel < channels) {
    for (int64_t r = blockIdx.x * each + row; r < end; r += kLoads * rows_at_once) {
      const T* const from = map + r * channels + channel;
      Packed<T> values[kLoads];
#pragma unroll
      for (int k = 0; k < kLoads; ++k) {
        const bool is_there = r + k * rows_at_once < end;
        values[k] = is_there ? load_packed(from + k * rows_at_once * channels) : Packed<T>{};
      }
#pragma unroll
      for (int k = 0; k < kLoads; ++k) {
        float value[kVector];
        unpack(values[k], value);
#pragma unroll
        for (int c = 0; c < kVector; ++c) total[c] += value[c];
      }
    }
  }
  store_vector(shared + threadIdx.x * kVector, total);
  __syncthreads();
  for (int c = static_cast<int>(threadIdx.x); c < lanes * kVector; c += kThreads) {
    const int own = static_cast<int>(blockIdx.y) * lanes * kVector + c;
    if (own >= channels) break;
    float sum = 0;
    for (int r = 0; r < rows_at_once; ++r) sum += shared[r * lanes * kVector + c];
    partial[static_cast<int64_t>(blockIdx.x) * channels + own] = sum;
  }
}

/// The same, for numbers of channels that are no multiple of 8.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_scalar_slices_kernel(int64_t rows, int channels, const T* map, float* partial) {
  const int64_t each = (rows + gridDim.x - 1) / gridDim.x;
  const int64_t end = min(rows, (blockIdx.x + 1) * each);
  __shared__ float shared[kThreads];
  for (int channel = 0; channel < channels; ++channel) {
    float total = 0;
    for (int64_t r = blockIdx.x * each + threadIdx.x; r < end; r += kThreads) {
      total += static_cast<float>(map[r * channels + channel]);
    }
    __syncthreads();
    shared[threadIdx.x] = total;
    __syncthreads();
    for (int half = kThreads / 2; half > 0; half /= 2) {
      if (static_cast<int>(threadIdx.x) < half) {
        shared[threadIdx.x] += shared[threadIdx.x + half];
      }
      __syncthreads();
    }
    if (threadIdx.x == 0)
      partial[static_cast<int64_t>(blockIdx.x) * channels + channel] = shared[0];
  }
}

constexpr int kColumns = 32;
constexpr int kRows = 16;

/// Calls write(channel, sum of term(row, channel) over rows).
template <typename Term, typename Write>
__device__ void sum_terms(int rows, int channels, Term&& term, Write&& write) {
  __shared__ float shared[kRows][kColumns];
  const int channel = static_cast<int>(blockIdx.x) * kColumns + static_cast<int>(threadIdx.x);
  float total = 0;
  if (channel < channels) {
#pragma unroll 4
    for (int r = static_cast<int>(threadIdx.y); r < rows; r += kRows) total += term(r, channel);
  }
  shared[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y != 0 || channel >= channels) return;
  for (int r = 1; r < kRows; ++r) total += shared[r][threadIdx.x];
  write(channel, total);
}

template <typename T>
__global__ void sum_partial_kernel(int slices, int channels, const float* partial, T* sums) {
  sum_terms(
      slices, channels,
      [&](int slice, int channel) {
        return partial[static_cast<int64_t>(slice) * channels + channel];
      },
      [&](int channel, float sum) { store_split(sums, channels, channel, sum); });
}

template <typename T>
__global__ void sum_product_kernel(int rows, int channels, const T* given, SummedProduct product) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const T* const weight = static_cast<const T*>(product.weight);
  const int main = channels - product.rest_channels;
  sum_terms(
      rows, channels,
      [&](int row, int channel) {
        return load_split(given, rows, row) *
               static_cast<float>(weight[static_cast<int64_t>(row) * channels + channel]);
      },
      [&](int channel, float sum) {
        if (channel < main) return store_split(static_cast<T*>(product.sums), main, channel, sum);
        store_split(static_cast<T*>(product.rest_sums), product.rest_channels, channel - main, sum);
      });
}

unsigned column_blocks(int channels) {
  return static_cast<unsigned>((channels + kColumns - 1) / kColumns);
}

template <typename T>
cudaError_t sum(const MapShape& shape, const T* map, T* sums, float* scratch, cudaStream_t stream) {
  const auto slices = static_cast<unsigned>(sum_blocks(shape));
  if (shape.channels % kVector == 0) {
    const int lanes = std::min(kMostLanes, shape.channels / kVector);
    const auto bundles = static_cast<unsigned>((shape.channels / kVector + lanes - 1) / lanes);
    sum_slices_kernel<T><<<dim3(slices, bundles), kThreads, 0, stream>>>(shape.rows, shape.channels,
                                                                         lanes, map, scratch);
  } else {
    sum_scalar_slices_kernel<T>
        <<<slices, kThreads, 0, stream>>>(shape.rows, shape.channels, map, scratch);
  }
  const cudaError_t launched = cudaGetLastError();
  if (launched != cudaSuccess) return launched;
  sum_partial_kernel<T><<<column_blocks(shape.channels), dim3(kColumns, kRows), 0, stream>>>(
      static_cast<int>(slices), shape.channels, scratch, sums);
  return cudaGetLastError();
}

template <typename T>
cudaError_t sum_product(const MapShape& shape, const void* given, const SummedProduct& product,
                        cudaStream_t stream) {
  return launch_early({.blocks = column_blocks(shape.channels),
                       .threads = dim3(kColumns, kRows),
                       .shared_bytes = 0,
                       .stream = stream},
                      sum_product_kernel<T>, static_cast<int>(shape.rows), shape.channels,
                      static_cast<const T*>(given), product);
}

}  // namespace

int64_t sum_rows_scratch(const MapShape& shape) { return sum_blocks(shape) * shape.channels; }

cudaError_t sum_rows(const MapShape& shape, const void* map, void* sums, float* scratch,
                     cudaStream_t stream) {
  if (shape.bf16) {
    using T = __nv_bfloat16;
    return sum(shape, static_cast<const T*>(map), static_cast<T*>(sums), scratch, stream);
  }
  return sum(shape, static_cast<const float*>(map), static_cast<float*>(sums), scratch, stream);
}

cudaError_t sum_product_rows(const MapShape& shape, const void* given, const SummedProduct& product,
                             cudaStream_t stream) {
  return shape.bf16 ? sum_product<__nv_bfloat16>(shape, given, product, stream)
                    : sum_product<float>(shape, given, product, stream);
}

}  // namespace ddpm::cuda
