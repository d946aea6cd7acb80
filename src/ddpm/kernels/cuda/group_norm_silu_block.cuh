#pragma once

#include "ddpm/kernels/cuda/group_norm_silu_kernels.h"
#include "ddpm/kernels/cuda/vector_types.cuh"

// One block takes one image and a bundle of channels (whole groups), all pixels.
// Thread t holds 8 channels (16 bytes of bfloat16) of pixels t / lanes, + rows, + 2 rows, ..:
//
//     lanes = bundle / 8 threads side by side read one pixel, rows = threads / lanes pixels at a
//     time
//
// Where a thread has at most kHeld pixels, the map stays in its registers between the passes;
// otherwise kHeld is 0 and each pass reads it again (from L2, mostly).
namespace ddpm::cuda {

inline constexpr int kMaxThreads = 512;
inline constexpr int kMaxBundle = 128;
inline constexpr int kMostHeld = 8;
inline constexpr int kMostSegments = 16;  // that a sum over pixels is taken in

struct Bundle {
  int channels = 0;  // of the block
  int lanes = 0;     // threads a pixel
  int rows = 0;      // pixels at a time
  int threads = 0;
  int held = 0;  // pixels a thread keeps, 0: none
};

/// The pixels of a thread, from registers or from memory.
template <typename T, int kHeld>
struct Pixels {
  const T* base;  // the thread's first pixel
  int64_t step;   // elements from one of its pixels to the next
  int count;
  Packed<T> held[kHeld > 0 ? kHeld : 1];

  __device__ void load() {
#pragma unroll
    for (int i = 0; i < kHeld; ++i) {
      if (i < count) held[i] = load_packed(base + i * step);
    }
  }
  /// visit(pixel's number, its 8 values as they are stored)
  template <typename Visit>
  __device__ void each(Visit&& visit) const {
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int i = 0; i < kHeld; ++i) {
        if (i < count) visit(i, held[i]);
      }
    } else {
      for (int i = 0; i < count; ++i) visit(i, load_packed(base + i * step));
    }
  }
};

/// What a thread of a block is.
struct Place {
  int image, first_channel, lane, row;
  bool works;
  int64_t offset;  // of its first pixel's first channel
  int count;       // of its pixels

  __device__ Place(const GroupNormShape& shape, const Bundle& bundle)
      : image(static_cast<int>(blockIdx.y)),
        first_channel(static_cast<int>(blockIdx.x) * bundle.channels),
        lane(static_cast<int>(threadIdx.x) % bundle.lanes),
        row(static_cast<int>(threadIdx.x) / bundle.lanes),
        works(row < bundle.rows && row < shape.pixels),
        offset((static_cast<int64_t>(image) * shape.pixels + row) * shape.channels + channel()),
        count(works ? (shape.pixels - row + bundle.rows - 1) / bundle.rows : 0) {}
  __device__ int channel() const { return first_channel + lane * kVector; }
};

/// Sums over all pixels of kSums values a channel; sums[k][channel of the bundle] is complete after
/// the call. The order of additions depends on the shape alone.
template <int kSums>
__device__ void sum_pixels(const Bundle& bundle, const Place& place,
                           const float (&values)[kSums][kVector], float (*sums)[kMaxBundle],
                           float* scratch) {
  const int thread = static_cast<int>(threadIdx.x);
  const int segments = min(bundle.threads / bundle.channels, kMostSegments);
  const int segment = thread / bundle.channels;
  const int column = thread % bundle.channels;
#pragma unroll
  for (int k = 0; k < kSums; ++k) {
    __syncthreads();  // scratch may still be read
    if (place.row < bundle.rows) {
      float* to = scratch + place.row * bundle.channels + place.lane * kVector;
      store_vector(to, values[k]);
    }
    __syncthreads();
    float partial = 0;
    if (segment < segments) {
#pragma unroll 8
      for (int row = segment; row < bundle.rows; row += segments) {
        partial += scratch[row * bundle.channels + column];
      }
    }
    __syncthreads();
    if (segment < segments) scratch[segment * bundle.channels + column] = partial;
    __syncthreads();
    if (thread < bundle.channels) {
      float total = 0;
#pragma unroll 8
      for (int s = 0; s < segments; ++s) total += scratch[s * bundle.channels + thread];
      sums[k][thread] = total;
    }
  }
  __syncthreads();
}

/// values[c] becomes the mean over c's group of values and pixels.
inline __device__ void mean_of_groups(const GroupNormShape& shape, const Bundle& bundle,
                                      float* values) {
  const int per_group = shape.channels / shape.groups;
  const int thread = static_cast<int>(threadIdx.x);
  float mean = 0;
  if (thread < bundle.channels) {
    const int first = thread / per_group * per_group;
    for (int c = 0; c < per_group; ++c) mean += values[first + c];
    mean /= static_cast<float>(per_group) * static_cast<float>(shape.pixels);
  }
  __syncthreads();
  if (thread < bundle.channels) values[thread] = mean;
  __syncthreads();
}

/// What launch.operator()<held>() answers.
template <typename Launch>
cudaError_t with_held(int held, Launch&& launch) {
  switch (held) {
    case 1:
      return launch.template operator()<1>();
    case 2:
      return launch.template operator()<2>();
    case 4:
      return launch.template operator()<4>();
    case kMostHeld:
      return launch.template operator()<kMostHeld>();
    default:
      return launch.template operator()<0>();
  }
}

/// The smallest bundle that holds whole groups and whole vectors, of 32 channels or more unless
/// that leaves the device without work; 0: none.
int bundle_channels(const GroupNormShape& shape);
/// The blocks of a shape that fits.
Bundle make_bundle(const GroupNormShape& shape);

/// True if group_norm_silu_warp_forward takes the shape.
bool group_norm_silu_suits_warps(const GroupNormShape& shape);
/// group_norm_silu_forward of bundles of 8, 16 or 32 channels.
cudaError_t group_norm_silu_warp_forward(const GroupNormShape& shape,
                                         const GroupNormTensors& tensors, void* y,
                                         cudaStream_t stream);

inline dim3 grid_of(const GroupNormShape& shape, const Bundle& bundle) {
  return dim3(static_cast<unsigned>(shape.channels / bundle.channels),
              static_cast<unsigned>(shape.images));
}
inline int64_t scratch_bytes(const Bundle& bundle) {
  return static_cast<int64_t>(bundle.rows) * bundle.channels * static_cast<int64_t>(sizeof(float));
}

}  // namespace ddpm::cuda
