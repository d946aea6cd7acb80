#pragma once

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/relu_batch_norm_kernels.h"
#include "ddpm/kernels/cuda/vector_types.cuh"

// A block takes a slice of one image's pixels and a bundle of channels. Thread t holds 8 channels
// of pixels t / lanes, + rows, + 2 rows, ... of the slice. Sums over pixels go block by block into
// `partial` [sums, images * slices, channels] (relu_batch_norm_sums.cuh).
namespace ddpm::cuda {

inline constexpr int kNormThreads = 256;
inline constexpr int kMostNormLanes = 32;
inline constexpr int kPixelsOfThread = 16;
inline constexpr int64_t kNormBlocks = 512;  // that a map is cut into, if its slices stay long

struct Slices {
  int lanes = 0;   ///< threads a pixel
  int rows = 0;    ///< pixels at a time
  int pixels = 0;  ///< of a slice
  int slices = 0;  ///< of an image
  int bundles = 0;
};

inline Slices slices_of(const BatchNormShape& shape) {
  Slices cut;
  const int vectors = shape.channels / kVector;
  cut.lanes = vectors < kMostNormLanes ? vectors : kMostNormLanes;
  cut.rows = kNormThreads / cut.lanes;
  cut.bundles = (vectors + cut.lanes - 1) / cut.lanes;
  for (int each = kPixelsOfThread; each >= 4; each /= 2) {
    cut.pixels = each * cut.rows;
    cut.slices = (shape.pixels + cut.pixels - 1) / cut.pixels;
    if (static_cast<int64_t>(shape.images) * cut.slices * cut.bundles >= kNormBlocks) break;
  }
  return cut;
}

/// Rows of `partial`.
inline int64_t partial_rows(const BatchNormShape& shape, const Slices& cut) {
  return static_cast<int64_t>(shape.images) * cut.slices;
}

inline dim3 grid_of(const BatchNormShape& shape, const Slices& cut) {
  return dim3(static_cast<unsigned>(cut.bundles), static_cast<unsigned>(cut.slices),
              static_cast<unsigned>(shape.images));
}

/// The way through a map. Who made it wrote its end last, which is in the cache yet: the first pass
/// over it goes backward, and the second one forward again from where the first one ended.
enum class Way { kForward, kBackward };

/// A thread's share of a slice.
struct Share {
  int channel, row, begin, end;
  bool works;
  int64_t image, slice;

  __device__ Share(const BatchNormShape& shape, const Slices& cut, Way way)
      : channel(
            (static_cast<int>(blockIdx.x) * cut.lanes + static_cast<int>(threadIdx.x) % cut.lanes) *
            kVector),
        row(static_cast<int>(threadIdx.x) / cut.lanes),
        image(way == Way::kForward ? blockIdx.z : gridDim.z - 1 - blockIdx.z),
        slice(way == Way::kForward ? blockIdx.y : gridDim.y - 1 - blockIdx.y) {
    const int first = static_cast<int>(slice) * cut.pixels;
    begin = first + row;
    end = min(shape.pixels, first + cut.pixels);
    works = row < cut.rows && channel < shape.channels;
  }

  /// visit(offset of a pixel's 8 channels, what stands there in each of the maps); the loads of
  /// `kAhead` pixels are under way at once.
  template <int kAhead, typename T, int kMaps, typename Visit>
  __device__ void each(const BatchNormShape& shape, const Slices& cut,
                       const T* const (&maps)[kMaps], Visit&& visit) const {
    if (!works) return;
    const int64_t step = static_cast<int64_t>(cut.rows) * shape.channels;
    int64_t at = (image * shape.pixels + begin) * shape.channels + channel;
    for (int pixel = begin; pixel < end; pixel += kAhead * cut.rows, at += kAhead * step) {
      Packed<T> loaded[kAhead][kMaps];
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (pixel + k * cut.rows >= end) break;
#pragma unroll
        for (int m = 0; m < kMaps; ++m) loaded[k][m] = load_packed(maps[m] + at + k * step);
      }
#pragma unroll
      for (int k = 0; k < kAhead; ++k) {
        if (pixel + k * cut.rows >= end) break;
        visit(at + k * step, loaded[k]);
      }
    }
  }
};

/// relu(x + bias); the sum is rounded as a map of T would hold it.
template <typename T>
__device__ __forceinline__ void relu_of_sum(const Packed<T>& x, const float (&bias)[kVector],
                                            float (&positive)[kVector]) {
  unpack(x, positive);
#pragma unroll
  for (int c = 0; c < kVector; ++c) positive[c] += bias[c];
  Packed<T> rounded;
  store_vector(reinterpret_cast<T*>(&rounded), positive);
  unpack(rounded, positive);
#pragma unroll
  for (int c = 0; c < kVector; ++c) positive[c] = fmaxf(positive[c], 0.0f);
}

/// x_bias of a thread's channels.
template <typename T>
__device__ void load_x_bias(const BatchNormTensors& tensors, int channel, float (&bias)[kVector]) {
  load_or<T>(row_of<T>(tensors.x_bias, 0, 0, channel), 0, bias);
}

}  // namespace ddpm::cuda
