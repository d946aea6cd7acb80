#pragma once

#include <cstdint>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/cluster_exchange.cuh"
#include "ddpm/kernels/cuda/conv2d_tile.cuh"
#include "ddpm/kernels/cuda/conv2d_walk.cuh"

// How the blocks of a cluster add up their sums of a tile: each sends the others what they take.
namespace ddpm::cuda::conv2d_tile {

inline constexpr int kMostParts = 8;  // blocks of a cluster
inline constexpr int kPairs = kTileChannels / 2;
inline constexpr int kRowBytes = kTileChannels * static_cast<int>(sizeof(float));

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// The pixels of a tile that each block adds up.
struct Shares {
  int each, pixels;

  __device__ explicit Shares(const ConvPlan& plan)
      : each(plan.pixels_each()), pixels(plan.pixels) {}
  __device__ int count(int part) const { return max(0, min(each, pixels - part * each)); }
};

/// Where a thread's sums of a warp's rows go: rows lane / 4 + 8 r of its 32.
struct Destinations {
  static constexpr int kRows = 4;
  uint32_t sums[kRows], barriers[kRows];
  bool are_there[kRows];

  /// @param first_pixel,first_channel of the warp in the tile.
  __device__ Destinations(const Shares& shares, int part, int first_pixel, int first_channel,
                          uint32_t slots, uint32_t barrier) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int column = first_channel + lane % 4 * 2;
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int pixel = first_pixel + r * 8 + lane / 4;
      are_there[r] = pixel < shares.pixels;
      const int owner = are_there[r] ? pixel / shares.each : 0;
      const int row = part * shares.each + pixel - owner * shares.each;
      sums[r] = address_in_block(slots + row * kRowBytes + column * static_cast<int>(sizeof(float)),
                                 owner);
      barriers[r] = address_in_block(barrier, owner);
    }
  }

  __device__ void send(const WarpSums& warp) const {
    constexpr uint32_t kNext = 8 * sizeof(float);  // channels of a matrix
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (!are_there[r]) continue;
#pragma unroll
      for (int j = 0; j < 2; ++j) {
        const float* const pair = warp.sums[r / 2][j] + r % 2 * 2;
        send_pair(sums[r] + j * kNext, barriers[r], pair[0], pair[1]);
      }
    }
  }
};

/// The pairs of channels that a thread adds up.
struct OwnPairs {
  static constexpr int kMost = kMostPixels / 2 * kPairs / kThreads;  // with two parts
  static constexpr int kStep = kThreads / kPairs;                    // pixels

  int first, count;    // of the block's pixels
  int column;          // of the tile
  int channel;         // of y
  int64_t from, step;  // of y
  __nv_bfloat162 bias, residual_bias, residual[kMost];

  __device__ OwnPairs(const ConvMaps& maps, const ConvPlan& plan, const TilePlace& place,
                      const Shares& shares, int part)
      : first(static_cast<int>(threadIdx.x) / kPairs),
        column(static_cast<int>(threadIdx.x) % kPairs * 2),
        channel(static_cast<int>(blockIdx.z) * kTileChannels + column),
        step(static_cast<int64_t>(kStep) * maps.out_channels) {
    count = min(shares.count(part), place.pixels - part * shares.each);
    const int pixel = place.first_pixel + part * shares.each + first;
    from = static_cast<int64_t>(pixel) * maps.out_channels + channel;
  }
  __device__ bool has(int i) const { return first + i * kStep < count; }

  __device__ void load(const MapAddends& addends) {
    bias = pair_or_zero(addends.bias, channel);
    residual_bias = pair_or_zero(addends.residual_bias, channel);
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      residual[i] = pair_or_zero(has(i) ? addends.residual : nullptr, from + i * step);
    }
  }

  /// Adds up the sums of all parts, in their order, with the addends.
  __device__ void write(const Shares& shares, int parts, const float* slots, T* y) const {
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      if (!has(i)) break;
      float2 sum = __bfloat1622float2(bias);
      add_to(sum, __bfloat1622float2(residual_bias));
      add_to(sum, __bfloat1622float2(residual[i]));
      const float* const at = slots + (first + i * kStep) * kTileChannels + column;
      float2 values[kMostParts];
#pragma unroll
      for (int part = 0; part < kMostParts; ++part) {  // all are read before one is needed
        values[part] =
            part < parts ? *reinterpret_cast<const float2*>(at + part * shares.each * kTileChannels)
                         : make_float2(0, 0);
      }
#pragma unroll
      for (int part = 0; part < kMostParts; ++part) add_to(sum, values[part]);
      *reinterpret_cast<__nv_bfloat162*>(y + from + i * step) = __float22bfloat162_rn(sum);
    }
  }

 private:
  static __device__ __nv_bfloat162 pair_or_zero(const void* table, int64_t at) {
    if (table == nullptr) return __nv_bfloat162{};
    return *reinterpret_cast<const __nv_bfloat162*>(static_cast<const T*>(table) + at);
  }
  static __device__ void add_to(float2& sum, float2 more) {
    sum.x += more.x;
    sum.y += more.y;
  }
};

#endif

}  // namespace ddpm::cuda::conv2d_tile
