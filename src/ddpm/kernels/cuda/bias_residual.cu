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

}  // namespace

cudaError_t add_bias_residual(const MapShape& shape, void* y, const MapAddends& addends,
                              cudaStream_t stream) {
  const bool adds_nothing =
      addends.bias == nullptr && addends.residual == nullptr && addends.residual_bias == nullptr;
  if (shape.rows == 0 || adds_nothing) return cudaSuccess;
  return shape.bf16 ? add<__nv_bfloat16>(shape, y, addends, stream)
                    : add<float>(shape, y, addends, stream);
}

}  // namespace ddpm::cuda
