#pragma once

#include <cstdint>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/conv2d_few_pixels_kernels.h"
#include "ddpm/kernels/cuda/tensor_core.cuh"

// A tile of a convolution as a product: 64 pixels and 64 channels that come out, summed in chunks
// of 64 channels of one tap that come in.
namespace ddpm::cuda::conv2d_tile {

using T = __nv_bfloat16;
inline constexpr int kThreads = 256;
inline constexpr int kTile = 64;  // pixels, channels that come out, and channels of a chunk
inline constexpr int kVectors = kTile / 8;  // of 16 bytes, of a row
inline constexpr int kTileElements = kTile * kTile;
inline constexpr int kChunkElements = 2 * kTileElements;  // pixels, then weights
inline constexpr int kSumStride = kTile + 4;              // floats of a row of sums

// A thread copies vector thread % 8 of rows thread / 8 and 32 more of each tile.
inline constexpr int kRows = 2;
inline constexpr int kRowStep = kTile / kRows;
inline __device__ int copied_row() { return static_cast<int>(threadIdx.x) / kVectors; }
inline __device__ int copied_vector() { return static_cast<int>(threadIdx.x) % kVectors; }

inline __host__ __device__ int out_pixels(const ConvMaps& maps) {
  return maps.images * maps.out_height * maps.out_width;
}

/// Where vector `vector` of a tile's row stands: rows of 128 bytes, in which eight rows' vectors of
/// one number lie in different banks.
inline __device__ int swizzled(int row, int vector) {
  return row * kTile + (vector ^ (row & 7)) * 8;
}

/// Copies tiles of weights.
struct WeightCopier {
  const T* from;
  int64_t row_step;

  __device__ WeightCopier(const ConvMaps& maps, const T* weight, int first_channel)
      : from(weight), row_step(static_cast<int64_t>(maps.kernel) * maps.kernel * maps.channels) {
    from += (first_channel + copied_row()) * row_step + copied_vector() * 8;
  }

  /// Starts the copy of a chunk's weights.
  __device__ void copy(int chunk, T* tile) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      T* const to = tile + swizzled(copied_row() + i * kRowStep, copied_vector());
      copy_async_or_zero(to, from + i * kRowStep * row_step + chunk * kTile, true);
    }
  }
};

/// Copies tiles of pixels, chunk after chunk.
struct PixelCopier {
  const ConvMaps& maps;
  const T* x;   // the thread's vector of the first pixel
  int channel;  // first of the next chunk
  int tap_row, tap_column;
  int top[kRows], left[kRows], first_line[kRows];  // of the pixels that tap 0 reads

  __device__ PixelCopier(const ConvMaps& of, const T* map, int first_pixel, int first_chunk)
      : maps(of), x(map + copied_vector() * 8) {
    const int chunks_of_tap = maps.channels / kTile;
    const int tap = first_chunk / chunks_of_tap;
    channel = (first_chunk - tap * chunks_of_tap) * kTile;
    tap_row = tap / maps.kernel;
    tap_column = tap - tap_row * maps.kernel;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int pixel = first_pixel + copied_row() + i * kRowStep;
      const int line = pixel / maps.out_width;
      const int image = line / maps.out_height;
      // Past the last pixel no tap is inside.
      top[i] = pixel < out_pixels(maps)
                   ? (line - image * maps.out_height) * maps.stride - maps.padding
                   : -maps.height - maps.kernel;
      left[i] = (pixel - line * maps.out_width) * maps.stride - maps.padding;
      first_line[i] = image * maps.height;
    }
  }

  /// Starts the copy of the next chunk's pixels.
  __device__ void copy_next(T* tile) {
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int line = top[i] + tap_row;
      const int column = left[i] + tap_column;
      const bool is_inside = line >= 0 && line < maps.height && column >= 0 && column < maps.width;
      const int64_t pixel =
          is_inside ? static_cast<int64_t>(first_line[i] + line) * maps.width + column : 0;
      copy_async_or_zero(tile + swizzled(copied_row() + i * kRowStep, copied_vector()),
                         x + pixel * maps.channels + channel, is_inside);
    }
    channel += kTile;
    if (channel < maps.channels) return;
    channel = 0;
    if (++tap_column < maps.kernel) return;
    tap_column = 0;
    ++tap_row;
  }
};

/// Sums of a warp: of 32 pixels and 32 channels of a tile, over one half of each chunk. Warps 0 to
/// 3 take the first halves, 4 to 7 the others.
struct WarpSums {
  static constexpr int kHalf = 4;  // warps
  static constexpr int kSums = 32;
  float sums[2][4][4] = {};
  int first_row, first_column, half;

  __device__ WarpSums() {
    const int warp = static_cast<int>(threadIdx.x) / 32;
    half = warp / kHalf;
    first_row = warp % kHalf / 2 * 32;
    first_column = warp % 2 * 32;
  }

  __device__ void add(const T* chunk) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int first = half * kVectors / 2;
#pragma unroll
    for (int k = first; k < first + kVectors / 2; k += 2) {
      uint32_t pixels[2][4], weights[2][4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        load_matrices(pixels[i], chunk + swizzled(first_row + i * 16 + lane % 16, k + lane / 16));
      }
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const int row = first_column + j * 16 + lane / 16 * 8 + lane % 8;
        load_matrices(weights[j], chunk + kTileElements + swizzled(row, k + lane / 8 % 2));
      }
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int j = 0; j < 4; ++j) {
          multiply_add(sums[i][j], pixels[i], weights[j / 2] + 2 * (j % 2));
        }
      }
    }
  }

  /// Leaves the sums of both halves in `tile`, for all threads to call; `scratch` has room for as
  /// many floats as a tile has elements.
  __device__ void store(float* scratch, float* tile) {
    float* const mine = scratch + threadIdx.x % (32 * kHalf);
    float* const all = &sums[0][0][0];
    if (half == 1) {
#pragma unroll
      for (int k = 0; k < kSums; ++k) mine[k * 32 * kHalf] = all[k];
    }
    __syncthreads();
    if (half == 1) return;
#pragma unroll
    for (int k = 0; k < kSums; ++k) all[k] += mine[k * 32 * kHalf];
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int row = first_row + i * 16 + lane / 4;
        const int column = first_column + j * 8 + lane % 4 * 2;
        float* const to = tile + row * kSumStride + column;
        *reinterpret_cast<float2*>(to) = make_float2(sums[i][j][0], sums[i][j][1]);
        *reinterpret_cast<float2*>(to + 8 * kSumStride) = make_float2(sums[i][j][2], sums[i][j][3]);
      }
    }
  }
};

}  // namespace ddpm::cuda::conv2d_tile
