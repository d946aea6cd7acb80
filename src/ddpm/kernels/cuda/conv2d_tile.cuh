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
inline constexpr int kStageElements = 2 * kTileElements;  // pixels, then weights
inline constexpr int kSumStride = kTile + 4;              // floats of a row of sums

inline __host__ __device__ int out_pixels(const ConvMaps& maps) {
  return maps.images * maps.out_height * maps.out_width;
}

/// Where vector `vector` of a tile's row stands: rows of 128 bytes, in which eight rows' vectors of
/// one number lie in different banks.
inline __device__ int swizzled(int row, int vector) {
  return row * kTile + (vector ^ (row & 7)) * 8;
}

/// What a thread copies: vector `vector` of rows `row` and `row + 32` of both tiles.
struct Copier {
  static constexpr int kRows = 2;
  static constexpr int kRowStep = kTile / kRows;

  const ConvMaps& maps;
  const T* x;       // the thread's vector of the first pixel
  const T* weight;  // the thread's vector of its first row's first chunk
  int row, vector;
  int top[kRows], left[kRows], first_line[kRows];  // of the pixels that tap 0 reads

  __device__ Copier(const ConvMaps& of, const T* map, const T* whole_weight, int first_pixel,
                    int first_channel)
      : maps(of),
        x(map),
        weight(whole_weight),
        row(static_cast<int>(threadIdx.x) / kVectors),
        vector(static_cast<int>(threadIdx.x) % kVectors) {
    x += vector * 8;
    const int taps = maps.kernel * maps.kernel;
    weight += static_cast<int64_t>(first_channel + row) * taps * maps.channels + vector * 8;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int pixel = first_pixel + row + i * kRowStep;
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

  /// Starts the copies of a chunk.
  __device__ void copy(int chunk, T* stage) const {
    const int chunks_of_tap = maps.channels / kTile;
    const int tap = chunk / chunks_of_tap;
    const int channel = (chunk - tap * chunks_of_tap) * kTile;
    const int tap_row = tap / maps.kernel;
    const int tap_column = tap - tap_row * maps.kernel;
    const int64_t sum_length = static_cast<int64_t>(maps.kernel) * maps.kernel * maps.channels;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      const int line = top[i] + tap_row;
      const int column = left[i] + tap_column;
      const bool is_inside = line >= 0 && line < maps.height && column >= 0 && column < maps.width;
      const int64_t pixel =
          is_inside ? static_cast<int64_t>(first_line[i] + line) * maps.width + column : 0;
      T* const to = stage + swizzled(row + i * kRowStep, vector);
      copy_async_or_zero(to, x + pixel * maps.channels + channel, is_inside);
      copy_async_or_zero(to + kTileElements, weight + i * kRowStep * sum_length + chunk * kTile,
                         true);
    }
  }
};

/// A warp's 32 pixels and 16 channels of a tile.
struct WarpSums {
  float sums[2][2][4] = {};
  int first_row, first_column;

  __device__ WarpSums()
      : first_row(static_cast<int>(threadIdx.x) / 32 / 4 * 32),
        first_column(static_cast<int>(threadIdx.x) / 32 % 4 * 16) {}

  __device__ void add(const T* stage) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int k = 0; k < kVectors; k += 2) {
      uint32_t pixels[2][4], weights[4];
#pragma unroll
      for (int i = 0; i < 2; ++i) {
        load_matrices(pixels[i], stage + swizzled(first_row + i * 16 + lane % 16, k + lane / 16));
      }
      const int row = first_column + lane / 16 * 8 + lane % 8;
      load_matrices(weights, stage + kTileElements + swizzled(row, k + lane / 8 % 2));
#pragma unroll
      for (int i = 0; i < 2; ++i) {
#pragma unroll
        for (int j = 0; j < 2; ++j) multiply_add(sums[i][j], pixels[i], weights + 2 * j);
      }
    }
  }

  __device__ void store(float* tile) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 2; ++j) {
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
