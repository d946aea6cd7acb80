#pragma once

#include <cstdint>

#include "ddpm/kernels/cuda/conv2d_sums.cuh"
#include "ddpm/kernels/cuda/conv2d_tile.cuh"

// The sums that the next norm needs, of what a block has written.
namespace ddpm::cuda::conv2d_tile {

inline constexpr int kSumRowBytes = kWarps * kTileChannels * 8;  // a row a warp

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// How a block leaves the sums of what it has written, which is a part of an image.
struct PartSums {
  using Rows = float2[kWarps][kTileChannels];
  static_assert(sizeof(Rows) == kSumRowBytes);

  bool leaves;
  int64_t row;  // of the sums, in numbers

  __device__ PartSums(const ConvMaps& maps, const ConvPlan& plan, const TilePlace& place,
                      int part) {
    int image = place.image, index;
    if (plan.images == 1) {
      index = static_cast<int>(blockIdx.y) % plan.tiles_of_image(maps) * plan.parts + part;
    } else {
      const int first = part * plan.pixels_each, image_pixels = maps.out_height * maps.out_width;
      image += first / image_pixels;
      index = first % image_pixels / max(plan.pixels_each, 1);
    }
    leaves = image < min(place.image + plan.images, maps.images);
    row = (static_cast<int64_t>(image) * plan.sum_parts + index) * maps.out_channels * 2;
  }

  /// By all threads, each with its share of four channels.
  ///
  /// @param room kSumRowBytes of shared memory.
  template <bool kWhole>
  __device__ void leave(float2 (&own)[4], const OwnQuads<kWhole>& quads, unsigned char* room,
                        float* sums) const {
    constexpr int kQuads = OwnQuads<kWhole>::kQuads;
    auto& rows = *reinterpret_cast<Rows*>(room);
    const int warp = static_cast<int>(threadIdx.x) / 32, lane = static_cast<int>(threadIdx.x) % 32;
#pragma unroll
    for (int k = 0; k < 4; ++k) {
#pragma unroll
      for (int step = kQuads; step < 32; step *= 2) {
        own[k].x += __shfl_xor_sync(~0U, own[k].x, step);
        own[k].y += __shfl_xor_sync(~0U, own[k].y, step);
      }
      if (lane < kQuads) rows[warp][lane * 4 + k] = own[k];
    }
    __syncthreads();
    if (threadIdx.x >= kTileChannels || !leaves) return;
    float2 all = rows[0][threadIdx.x];
#pragma unroll
    for (int i = 1; i < kWarps; ++i) {
      all = {all.x + rows[i][threadIdx.x].x, all.y + rows[i][threadIdx.x].y};
    }
    const int channel = quads.channel - quads.column + static_cast<int>(threadIdx.x);
    *reinterpret_cast<float2*>(sums + row + channel * 2) = all;
  }
};

#endif

}  // namespace ddpm::cuda::conv2d_tile
