#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/upsample_kernels.h"
#include "ddpm/kernels/cuda/vector_types.cuh"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 256;

/// A thread's 8 channels of a small map's pixel, and of the first of its four large ones.
struct Quad {
  int64_t vector;  // of the small map
  int64_t first;   // element of the large map, the others lie to the right and below
  int64_t right;
  int64_t below;

  __device__ explicit Quad(const UpsampleShape& shape)
      : vector(static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x) {
    const int lanes = shape.channels / kVector;
    const int64_t pixel = vector / lanes;  // of all images
    const int lane = static_cast<int>(vector - pixel * lanes);
    const int64_t line = pixel / shape.width;  // of all images
    const int column = static_cast<int>(pixel - line * shape.width);
    right = shape.channels;
    below = static_cast<int64_t>(2 * shape.width) * shape.channels;
    first = 2 * line * below + 2 * column * right + lane * kVector;
  }
};

inline __host__ __device__ int64_t vectors_of(const UpsampleShape& shape) {
  return static_cast<int64_t>(shape.images) * shape.height * shape.width *
         (shape.channels / kVector);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) repeat_kernel(UpsampleShape shape, const T* x, T* y) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const Quad quad(shape);
  if (quad.vector >= vectors_of(shape)) return;
  const Packed<T> value = load_packed(x + quad.vector * kVector);
  store_packed(y + quad.first, value);
  store_packed(y + quad.first + quad.right, value);
  store_packed(y + quad.first + quad.below, value);
  store_packed(y + quad.first + quad.below + quad.right, value);
}

template <typename T>
__global__ void __launch_bounds__(kThreads) sum_kernel(UpsampleShape shape, const T* d_y, T* d_x) {
  const Quad quad(shape);
  if (quad.vector >= vectors_of(shape)) return;
  const Packed<T> four[] = {load_packed(d_y + quad.first),
                            load_packed(d_y + quad.first + quad.right),
                            load_packed(d_y + quad.first + quad.below),
                            load_packed(d_y + quad.first + quad.below + quad.right)};
  float sum[kVector] = {};
#pragma unroll
  for (int i = 0; i < 4; ++i) {
    float value[kVector];
    unpack(four[i], value);
#pragma unroll
    for (int c = 0; c < kVector; ++c) sum[c] += value[c];
  }
  store_vector(d_x + quad.vector * kVector, sum);
}

unsigned blocks_of(const UpsampleShape& shape) {
  return static_cast<unsigned>((vectors_of(shape) + kThreads - 1) / kThreads);
}

template <typename T>
cudaError_t repeat(const UpsampleShape& shape, const void* x, void* y, cudaStream_t stream) {
  const EarlyLaunch launch{
      .blocks = blocks_of(shape), .threads = kThreads, .shared_bytes = 0, .stream = stream};
  return launch_early(launch, repeat_kernel<T>, shape, static_cast<const T*>(x),
                      static_cast<T*>(y));
}

}  // namespace

cudaError_t upsample_nearest_2x(const UpsampleShape& shape, const void* x, void* y,
                                cudaStream_t stream) {
  if (vectors_of(shape) == 0) return cudaSuccess;
  return shape.bf16 ? repeat<__nv_bfloat16>(shape, x, y, stream)
                    : repeat<float>(shape, x, y, stream);
}

cudaError_t upsample_nearest_2x_backward(const UpsampleShape& shape, const void* d_y, void* d_x,
                                         cudaStream_t stream) {
  if (vectors_of(shape) == 0) return cudaSuccess;
  if (shape.bf16) {
    using T = __nv_bfloat16;
    sum_kernel<T><<<blocks_of(shape), kThreads, 0, stream>>>(shape, static_cast<const T*>(d_y),
                                                             static_cast<T*>(d_x));
  } else {
    sum_kernel<float><<<blocks_of(shape), kThreads, 0, stream>>>(
        shape, static_cast<const float*>(d_y), static_cast<float*>(d_x));
  }
  return cudaGetLastError();
}

}  // namespace ddpm::cuda
