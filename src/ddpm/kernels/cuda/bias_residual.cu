#include <algorithm>

#include "ddpm/kernels/cuda/bias_residual_kernels.h"
#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/vector_types.cuh"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kUnroll = 4;

/// MapAddends of one type.
template <typename T>
struct Addends {
  const T* bias;
  const T* residual;
  const T* residual_bias;

  explicit Addends(const MapAddends& addends)
      : bias(static_cast<const T*>(addends.bias)),
        residual(static_cast<const T*>(addends.residual)),
        residual_bias(static_cast<const T*>(addends.residual_bias)) {}
};

/// Adds 8 channels' entries of a table, if there is one.
template <typename T>
__device__ __forceinline__ void add_entries(const T* table, int channel, float (&sum)[kVector]) {
  if (table == nullptr) return;
  float entries[kVector];
  unpack(load_packed(table + channel), entries);
#pragma unroll
  for (int c = 0; c < kVector; ++c) sum[c] += entries[c];
}

/// Vectors of 8 channels; a block takes kThreads * kUnroll of them.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    add_kernel(int64_t vectors, int lanes, T* y, Addends<T> addends) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kThreads * kUnroll + threadIdx.x;
  Packed<T> sums[kUnroll], others[kUnroll];
#pragma unroll
  for (int k = 0; k < kUnroll; ++k) {
    const int64_t i = first + k * kThreads;
    if (i >= vectors) break;
    sums[k] = load_packed(y + i * kVector);
    if (addends.residual != nullptr) others[k] = load_packed(addends.residual + i * kVector);
  }
  const int first_lane = static_cast<int>(first % lanes);
#pragma unroll
  for (int k = 0; k < kUnroll; ++k) {
    const int64_t i = first + k * kThreads;
    if (i >= vectors) break;
    float sum[kVector], other[kVector];
    unpack(sums[k], sum);
    if (addends.residual != nullptr) {
      unpack(others[k], other);
#pragma unroll
      for (int c = 0; c < kVector; ++c) sum[c] += other[c];
    }
    const int channel = (first_lane + k * kThreads) % lanes * kVector;
    add_entries(addends.bias, channel, sum);
    add_entries(addends.residual_bias, channel, sum);
    store_vector(y + i * kVector, sum);
  }
}

/// For numbers of channels that are no multiple of 8.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    add_scalars_kernel(int64_t size, int channels, T* y, Addends<T> addends) {
  const int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x;
  if (i >= size) return;
  float sum = static_cast<float>(y[i]);
  if (addends.residual != nullptr) sum += static_cast<float>(addends.residual[i]);
  if (addends.bias != nullptr) sum += static_cast<float>(addends.bias[i % channels]);
  if (addends.residual_bias != nullptr) {
    sum += static_cast<float>(addends.residual_bias[i % channels]);
  }
  y[i] = static_cast<T>(sum);
}

template <typename T>
cudaError_t add(const MapShape& shape, void* y, const MapAddends& given, cudaStream_t stream) {
  const Addends<T> addends(given);
  const int64_t size = shape.rows * shape.channels;
  if (shape.channels % kVector == 0) {
    const int64_t vectors = size / kVector;
    const auto blocks =
        static_cast<unsigned>((vectors + kThreads * kUnroll - 1) / (kThreads * kUnroll));
    return launch_early(
        {.blocks = blocks, .threads = kThreads, .shared_bytes = 0, .stream = stream}, add_kernel<T>,
        vectors, shape.channels / kVector, static_cast<T*>(y), addends);
  }
  const auto blocks = static_cast<unsigned>((size + kThreads - 1) / kThreads);
  add_scalars_kernel<T>
      <<<blocks, kThreads, 0, stream>>>(size, shape.channels, static_cast<T*>(y), addends);
  return cudaGetLastError();
}

// Sums over rows: each of `blocks` blocks takes as many rows and writes one partial row; a second
// launch sums these.
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

template <typename T>
__global__ void sum_partial_kernel(int slices, int channels, const float* partial, T* sums) {
  __shared__ float shared[kRows][kColumns];
  const int channel = static_cast<int>(blockIdx.x) * kColumns + static_cast<int>(threadIdx.x);
  float total = 0;
  if (channel < channels) {
    for (int s = static_cast<int>(threadIdx.y); s < slices; s += kRows) {
      total += partial[static_cast<int64_t>(s) * channels + channel];
    }
  }
  shared[threadIdx.y][threadIdx.x] = total;
  __syncthreads();
  if (threadIdx.y != 0 || channel >= channels) return;
  for (int r = 1; r < kRows; ++r) total += shared[r][threadIdx.x];
  sums[channel] = static_cast<T>(total);
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
  const auto blocks = static_cast<unsigned>((shape.channels + kColumns - 1) / kColumns);
  sum_partial_kernel<T><<<blocks, dim3(kColumns, kRows), 0, stream>>>(
      static_cast<int>(slices), shape.channels, scratch, sums);
  return cudaGetLastError();
}

}  // namespace

cudaError_t add_bias_residual(const MapShape& shape, void* y, const MapAddends& addends,
                              cudaStream_t stream) {
  const bool adds_nothing =
      addends.bias == nullptr && addends.residual == nullptr && addends.residual_bias == nullptr;
  if (shape.rows == 0 || adds_nothing) return cudaSuccess;
  return shape.bf16 ? add<__nv_bfloat16>(shape, y, addends, stream)
                    : add<float>(shape, y, addends, stream);
}

int64_t sum_rows_scratch(const MapShape& shape) { return sum_blocks(shape) * shape.channels; }

cudaError_t sum_rows(const MapShape& shape, const void* map, void* sums, float* scratch,
                     cudaStream_t stream) {
  if (shape.bf16) {
    using T = __nv_bfloat16;
    return sum(shape, static_cast<const T*>(map), static_cast<T*>(sums), scratch, stream);
  }
  return sum(shape, static_cast<const float*>(map), static_cast<float*>(sums), scratch, stream);
}

}  // namespace ddpm::cuda
