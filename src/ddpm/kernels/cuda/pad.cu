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

/// The sides of a map.
struct Sides {
  int height, width;
};

/// Writes a map from the corner of one of other sides, `shift` pixels to the right and below; zeros
/// where that has none. Adds a map like `to`, unless it is null.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    resize_kernel(PadShape shape, Sides of, Sides into, int shift, const T* from, const T* added,
                  T* to) {
  let_next_kernel_begin();
  wait_for_previous_kernel();
  const int vector = static_cast<int>(blockIdx.x) * kThreads + static_cast<int>(threadIdx.x);
  if (vector >= vectors_of(shape, into.height, into.width)) return;
  const int lanes = shape.channels / kVector;
  const int pixel = vector / lanes;  // of all images
  const int lane = vector - pixel * lanes;
  const int line = pixel / into.width;  // of all images
  const int column = pixel - line * into.width - shift;
  const int image = line / into.height;
  const int row = line - image * into.height - shift;
  Packed<T> value{};
  if (row >= 0 && column >= 0 && row < of.height && column < of.width) {
    const int64_t source = (static_cast<int64_t>(image) * of.height + row) * of.width + column;
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

/// What is written from what.
struct Resizing {
  Sides of, into;
  int shift = 0;
  const void *from = nullptr, *added = nullptr;
  void* to = nullptr;
};

template <typename T>
cudaError_t resize_as(const PadShape& shape, const Resizing& r, cudaStream_t stream) {
  const int vectors = vectors_of(shape, r.into.height, r.into.width);
  if (vectors == 0) return cudaSuccess;
  const auto blocks = static_cast<unsigned>((vectors + kThreads - 1) / kThreads);
  return launch_early({.blocks = blocks, .threads = kThreads, .shared_bytes = 0, .stream = stream},
                      resize_kernel<T>, shape, r.of, r.into, r.shift, static_cast<const T*>(r.from),
                      static_cast<const T*>(r.added), static_cast<T*>(r.to));
}

cudaError_t resize(const PadShape& shape, const Resizing& resizing, cudaStream_t stream) {
  return shape.bf16 ? resize_as<__nv_bfloat16>(shape, resizing, stream)
                    : resize_as<float>(shape, resizing, stream);
}

Sides small_sides(const PadShape& shape) { return {shape.height, shape.width}; }
Sides large_sides(const PadShape& shape) { return {shape.height + 1, shape.width + 1}; }

}  // namespace

cudaError_t pad_right_and_bottom(const PadShape& shape, const void* x, void* y,
                                 cudaStream_t stream) {
  return resize(shape, {.of = small_sides(shape), .into = large_sides(shape), .from = x, .to = y},
                stream);
}

cudaError_t pad_left_and_top(const PadShape& shape, const void* x, void* y, cudaStream_t stream) {
  return resize(
      shape, {.of = small_sides(shape), .into = large_sides(shape), .shift = 1, .from = x, .to = y},
      stream);
}

cudaError_t pad_right_and_bottom_backward(const PadShape& shape, const void* d_y,
                                          const void* d_skip, void* d_x, cudaStream_t stream) {
  return resize(shape,
                {.of = large_sides(shape),
                 .into = small_sides(shape),
                 .from = d_y,
                 .added = d_skip,
                 .to = d_x},
                stream);
}

}  // namespace ddpm::cuda
