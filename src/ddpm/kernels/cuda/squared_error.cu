#include <algorithm>
#include <initializer_list>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/squared_error_kernels.h"
#include "ddpm/kernels/cuda/vector_types.cuh"
#include "ddpm/kernels/cuda/warp_sum.cuh"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kPart = 16384;  // elements of a block

int64_t parts_of(const SquaredErrorShape& shape) { return (shape.elements + kPart - 1) / kPart; }

template <typename T>
__device__ __forceinline__ void load(const T* from, float (&out)[kVector]) {
  unpack(load_packed(from), out);
}
template <typename T>
__device__ __forceinline__ void load(const T* from, float (&out)[1]) {
  out[0] = static_cast<float>(*from);
}

__device__ __forceinline__ void store(__nv_bfloat16* to, const float (&values)[1]) {
  *to = static_cast<__nv_bfloat16>(values[0]);
}
__device__ __forceinline__ void store(float* to, const float (&values)[1]) { *to = values[0]; }
template <typename T>
__device__ __forceinline__ void store(T* to, const float (&values)[kVector]) {
  store_vector(to, values);
}

/// In the first thread; in the others a part of it.
__device__ __forceinline__ float sum_of_block(float value) {
  __shared__ float of_warps[kThreads / kWarp];
  value = warp_sum(value);
  if (threadIdx.x % kWarp == 0) of_warps[threadIdx.x / kWarp] = value;
  __syncthreads();
  float sum = 0;
#pragma unroll
  for (int warp = 0; warp < kThreads / kWarp; ++warp) sum += of_warps[warp];
  return sum;
}

/// Calls visit(index) for a thread's shares of part blockIdx.x of image blockIdx.y, each of kWidth
/// elements.
template <int kWidth, typename Visit>
__device__ __forceinline__ void visit_part(int64_t elements, Visit&& visit) {
  const int64_t image = static_cast<int64_t>(blockIdx.y) * elements;
  const int64_t first = static_cast<int64_t>(blockIdx.x) * kPart;
  const int64_t end = first + kPart < elements ? first + kPart : elements;
  for (int64_t i = first + threadIdx.x * kWidth; i < end; i += kThreads * kWidth) visit(image + i);
}

/// The sum of a part, times `scale`.
template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    error_sums_kernel(int64_t elements, const T* prediction, const float* target, float scale,
                      float* sums) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  float sum = 0;
  visit_part<kWidth>(elements, [&](int64_t at) {
    float p[kWidth], q[kWidth];
    load(prediction + at, p);
    load(target + at, q);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) sum += (p[j] - q[j]) * (p[j] - q[j]);
  });
  sum = sum_of_block(sum);
  if (threadIdx.x == 0) {
    sums[static_cast<int64_t>(blockIdx.y) * gridDim.x + blockIdx.x] = sum * scale;
  }
}

/// Means of images of several parts, a warp each.
__global__ void __launch_bounds__(kWarp)
    sum_parts_kernel(int64_t parts, const float* sums, float scale, float* losses) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  float sum = 0;
  for (int64_t i = threadIdx.x; i < parts; i += kWarp) sum += sums[blockIdx.x * parts + i];
  sum = warp_sum(sum);
  if (threadIdx.x == 0) losses[blockIdx.x] = sum * scale;
}

template <typename T, int kWidth>
__global__ void __launch_bounds__(kThreads)
    error_gradient_kernel(int64_t elements, const T* prediction, const float* target,
                          const float* d_losses, float scale, T* d_prediction) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const float factor = d_losses[blockIdx.y] * scale;
  visit_part<kWidth>(elements, [&](int64_t at) {
    float p[kWidth], q[kWidth];
    load(prediction + at, p);
    load(target + at, q);
#pragma unroll
    for (int j = 0; j < kWidth; ++j) p[j] = (p[j] - q[j]) * factor;
    store(d_prediction + at, p);
  });
}

EarlyLaunch launch_of_parts(const SquaredErrorShape& shape, cudaStream_t stream) {
  return {
      .blocks = dim3(static_cast<unsigned>(parts_of(shape)), static_cast<unsigned>(shape.images)),
      .threads = dim3(kThreads),
      .shared_bytes = 0,
      .stream = stream};
}

/// Whether every access of kVector elements begins where one of 16 bytes may.
bool has_vectors(const SquaredErrorShape& shape, std::initializer_list<const void*> memory) {
  return shape.elements % kVector == 0 &&
         std::all_of(memory.begin(), memory.end(), [](const void* begin) {
           return reinterpret_cast<uintptr_t>(begin) % sizeof(uint4) == 0;
         });
}

template <typename T, int kWidth>
cudaError_t forward(const SquaredErrorShape& shape, const void* prediction, const float* target,
                    float* losses, float* scratch, cudaStream_t stream) {
  const int64_t parts = parts_of(shape);
  const float mean = 1.0f / static_cast<float>(shape.elements);
  const cudaError_t error =
      launch_early(launch_of_parts(shape, stream), error_sums_kernel<T, kWidth>, shape.elements,
                   static_cast<const T*>(prediction), target, parts > 1 ? 1.0f : mean,
                   parts > 1 ? scratch : losses);
  if (error != cudaSuccess || parts == 1) return error;
  return launch_early({.blocks = dim3(static_cast<unsigned>(shape.images)),
                       .threads = dim3(kWarp),
                       .shared_bytes = 0,
                       .stream = stream},
                      sum_parts_kernel, parts, scratch, mean, losses);
}

template <typename T, int kWidth>
cudaError_t backward(const SquaredErrorShape& shape, const void* prediction, const float* target,
                     const float* d_losses, void* d_prediction, cudaStream_t stream) {
  return launch_early(launch_of_parts(shape, stream), error_gradient_kernel<T, kWidth>,
                      shape.elements, static_cast<const T*>(prediction), target, d_losses,
                      2.0f / static_cast<float>(shape.elements), static_cast<T*>(d_prediction));
}

}  // namespace

int64_t squared_error_scratch(const SquaredErrorShape& shape) {
  const int64_t parts = parts_of(shape);
  return parts > 1 ? parts * shape.images : 0;
}

cudaError_t squared_error(const SquaredErrorShape& shape, const void* prediction,
                          const float* target, float* losses, float* scratch, cudaStream_t stream) {
  const bool wide = has_vectors(shape, {prediction, target});
  const auto run = shape.bf16 ? (wide ? forward<__nv_bfloat16, kVector> : forward<__nv_bfloat16, 1>)
                              : (wide ? forward<float, kVector> : forward<float, 1>);
  return run(shape, prediction, target, losses, scratch, stream);
}

cudaError_t squared_error_backward(const SquaredErrorShape& shape, const void* prediction,
                                   const float* target, const float* d_losses, void* d_prediction,
                                   cudaStream_t stream) {
  const bool wide = has_vectors(shape, {prediction, target, d_prediction});
  const auto run = shape.bf16
                       ? (wide ? backward<__nv_bfloat16, kVector> : backward<__nv_bfloat16, 1>)
                       : (wide ? backward<float, kVector> : backward<float, 1>);
  return run(shape, prediction, target, d_losses, d_prediction, stream);
}

}  // namespace ddpm::cuda
