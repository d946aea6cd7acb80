#pragma once

#include <algorithm>
#include <cstdint>

#include "ddpm/kernels/cuda/conv2d_part_sums.cuh"
#include "ddpm/kernels/cuda/conv2d_sums.cuh"
#include "ddpm/kernels/cuda/conv2d_tile.cuh"

namespace ddpm::cuda::conv2d_tile {

/// What stands in a block's shared memory, one behind the other.
struct BlockMemory {
  float* slots;  // [parts, pixels_each, kTileChannels] sums of parts
  unsigned char* sum_rows;
  float2* norm_rows;
  T *weights, *pixels, *shortcut_weights, *shortcut_pixels;
  int* sources;      // of pixels
  float* warp_rows;  // in the place of all from weights on, once these are read

  __device__ BlockMemory(const ConvMaps& maps, const ConvPlan& plan, unsigned char* bytes) {
    slots = reinterpret_cast<float*>(bytes);
    sum_rows = bytes + plan.parts * plan.pixels_each * kRowBytes;
    norm_rows = reinterpret_cast<float2*>(sum_rows + kSumRowBytes);
    weights = reinterpret_cast<T*>(norm_rows + plan.norm_rows() * plan.channels);
    pixels = weights + plan.weight_rows(maps) * plan.stride();
    shortcut_weights = pixels + (plan.in_pixels(maps) + 1) * plan.stride();
    shortcut_pixels = shortcut_weights + kTileChannels * plan.shortcut_stride();
    sources = reinterpret_cast<int*>(shortcut_pixels + plan.pixels * plan.shortcut_stride());
    warp_rows = reinterpret_cast<float*>(weights);
  }
};

/// How much that is.
inline int64_t block_bytes(const ConvMaps& maps, const ConvPlan& plan) {
  const int64_t rows = int64_t{plan.weight_rows(maps)} + plan.in_pixels(maps) + 1;
  const int64_t shortcut_rows = kTileChannels + plan.pixels;
  const int64_t inputs = (rows * plan.stride() + shortcut_rows * plan.shortcut_stride()) *
                             static_cast<int64_t>(sizeof(T)) +
                         (plan.in_pixels(maps) + 1) * static_cast<int64_t>(sizeof(int));
  return int64_t{plan.parts} * plan.pixels_each * kRowBytes + kSumRowBytes +
         int64_t{plan.norm_rows()} * plan.channels * static_cast<int64_t>(sizeof(float2)) +
         std::max<int64_t>(inputs, kWarpRowBytes);
}

}  // namespace ddpm::cuda::conv2d_tile
