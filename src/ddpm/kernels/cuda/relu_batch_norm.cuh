#pragma once

#include "ddpm/kernels/cuda/relu_batch_norm_kernels.h"
#include "ddpm/kernels/cuda/vector_types.cuh"

// A block takes a slice of one image's pixels and a bundle of channels. Thread t holds 8 channels
// of pixels t / lanes, + rows, + 2 rows, ... of the slice. Sums over pixels go block by block into
// `partial` [2, images * slices, channels], which a second launch adds up in a fixed order.
namespace ddpm::cuda {

inline constexpr int kNormThreads = 256;
inline constexpr int kMostNormLanes = 32;
inline constexpr int kPixelsOfSlice = 256;

struct Slices {
  int lanes = 0;   ///< threads a pixel
  int rows = 0;    ///< pixels at a time
  int slices = 0;  ///< of an image
  int bundles = 0;
};

inline Slices slices_of(const BatchNormShape& shape) {
  Slices cut;
  cut.lanes = shape.channels / kVector < kMostNormLanes ? shape.channels / kVector : kMostNormLanes;
  cut.rows = kNormThreads / cut.lanes;
  cut.slices = (shape.pixels + kPixelsOfSlice - 1) / kPixelsOfSlice;
  cut.bundles = (shape.channels / kVector + cut.lanes - 1) / cut.lanes;
  return cut;
}

inline dim3 grid_of(const BatchNormShape& shape, const Slices& cut) {
  return dim3(static_cast<unsigned>(cut.slices), static_cast<unsigned>(shape.images),
              static_cast<unsigned>(cut.bundles));
}

/// A thread's share of a slice.
struct Share {
  int channel, row, begin, end;
  bool works;
  int64_t image;

  __device__ Share(const BatchNormShape& shape, const Slices& cut)
      : channel(
            (static_cast<int>(blockIdx.z) * cut.lanes + static_cast<int>(threadIdx.x) % cut.lanes) *
            kVector),
        row(static_cast<int>(threadIdx.x) / cut.lanes),
        begin(static_cast<int>(blockIdx.x) * kPixelsOfSlice + row),
        end(min(shape.pixels, (static_cast<int>(blockIdx.x) + 1) * kPixelsOfSlice)),
        works(row < cut.rows && channel < shape.channels),
        image(blockIdx.y) {}

  /// visit(offset of the pixel's 8 channels)
  template <typename Visit>
  __device__ void each(const BatchNormShape& shape, const Slices& cut, Visit&& visit) const {
    if (!works) return;
#pragma unroll 4
    for (int pixel = begin; pixel < end; pixel += cut.rows) {
      visit((image * shape.pixels + pixel) * shape.channels + channel);
    }
  }
};

/// Adds up two values a channel over the block's pixels, into row `slice` of `partial`.
__device__ inline void write_partial(const BatchNormShape& shape, const Slices& cut,
                                     const Share& share, const float (&values)[2][kVector],
                                     float* partial) {
  __shared__ float shared[kNormThreads * kVector];
  const int64_t slice = share.image * cut.slices + blockIdx.x;
  const int64_t all = static_cast<int64_t>(shape.images) * cut.slices * shape.channels;
  const int width = cut.lanes * kVector;
  for (int k = 0; k < 2; ++k) {
    __syncthreads();
    store_vector(shared + threadIdx.x * kVector, values[k]);
    __syncthreads();
    for (int c = static_cast<int>(threadIdx.x); c < width; c += kNormThreads) {
      const int channel = static_cast<int>(blockIdx.z) * width + c;
      if (channel >= shape.channels) break;
      float sum = 0;
      for (int r = 0; r < cut.rows; ++r) sum += shared[r * width + c];
      partial[k * all + slice * shape.channels + channel] = sum;
    }
  }
}

inline constexpr int kColumns = 32;
inline constexpr int kSummers = 16;

/// The sums over `count` rows of `partial` for this thread's column, complete in threads of row 0.
__device__ inline void sum_partial_rows(int64_t count, int channels, const float* partial,
                                        int channel, double (&sums)[2]) {
  __shared__ double shared[2][kSummers][kColumns];
  for (int k = 0; k < 2; ++k) {
    double total = 0;
    if (channel < channels) {
      for (int64_t row = threadIdx.y; row < count; row += kSummers) {
        total += static_cast<double>(partial[(k * count + row) * channels + channel]);
      }
    }
    shared[k][threadIdx.y][threadIdx.x] = total;
  }
  __syncthreads();
  if (threadIdx.y != 0) return;
  for (int k = 0; k < 2; ++k) {
    sums[k] = 0;
    for (int r = 0; r < kSummers; ++r) sums[k] += shared[k][r][threadIdx.x];
  }
}

inline unsigned column_blocks(const BatchNormShape& shape) {
  return static_cast<unsigned>((shape.channels + kColumns - 1) / kColumns);
}

}  // namespace ddpm::cuda
