#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/pad_kernels.h"
#include "ddpm/kernels/cuda/vector_types.cuh"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 256;

/// Vectors of 8 channels of a map of these sides.
inline __host__ __device__ int vectors_of(const PadShape& shape, int height, int width) {
  return shape.images * height * width * (shape.channels / kVector);
}

/// Writes a map of to_height x to_width pixels from the corner of one of from_height x from_width;
/// zeros where that has none. Adds a map like `to`, unless it is null.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    resize_kernel(PadShape shape, int from_height, int from_width, int to_height, int to_width,
                  const T* from, const T* added, T* to) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const int vector = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (vector >= vectors_of(shape, to_height, to_width)) return;
  const int lanes = shape.channels / kVector;
  const int pixel = vector / lanes;  // of all images
  const int lane = vector - pixel * lanes;
  const int line = pixel / to_width;  // of all images
  const int column = pixel - line * to_width;
  const int image = line / to_height;
  const int row = line - image * to_height;
  Packed<T> value{};
  if (row < from_height && column < from_width) {
    const int64_t source = (static_cast<int64_t>(image) * from_height + row) * from_width + column;
    value = load_packed(from + (source * lanes + lane) * kVector);
  }
  const int64_t at = static_cast<int64_t>(vector) * kVector;
  if (added == nullptr) {
    store_packed(to + at, value);
    return;
  }
  float sum[kVector], more[kVector];
  unpack(value, sum);
  unpack(load_packed(added + at), more);
#pragma unroll
  for (int c = 0; c < kVector; ++c) sum[c] += more[c];
  store_vector(to + at, sum);
}

/// The sides of a map.
struct Sides {
  int height, width;
};

template <typename T>
cudaError_t resize(const PadShape& shape, const Sides& from_sides, const Sides& to_sides,
                   const void* from, const void* added, void* to, cudaStream_t stream) {
  const int vectors = vectors_of(shape, to_sides.height, to_sides.width);
  if (vectors == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>((vectors + kThreads - 1) / kThreads);
  return launch_early({.blocks = blocks, .threads = kThreads, .shared_bytes = 0, .stream = stream},
                      resize_kernel<T>, shape, from_sides.height, from_sides.width, to_sides.height,
                      to_sides.width, static_cast<const T*>(from), static_cast<const T*>(added),
                      static_cast<T*>(to));
}

}  // namespace

cudaError_t pad_right_and_bottom(const PadShape& shape, const void* x, void* y,
                                 cudaStream_t stream) {
  const Sides small{shape.height, shape.width};
  const Sides large{shape.height + 1, shape.width + 1};
  return shape.bf16 ? resize<__nv_bfloat16>(shape, small, large, x, nullptr, y, stream)
                    : resize<float>(shape, small, large, x, nullptr, y, stream);
}

cudaError_t pad_right_and_bottom_backward(const PadShape& shape, const void* d_y,
                                          const void* d_skip, void* d_x, cudaStream_t stream) {
  const Sides small{shape.height, shape.width};
  const Sides large{shape.height + 1, shape.width + 1};
  return shape.bf16 ? resize<__nv_bfloat16>(shape, large, small, d_y, d_skip, d_x, stream)
                    : resize<float>(shape, large, small, d_y, d_skip, d_x, stream);
}

}  // namespace ddpm::cuda
