#pragma once

#include <cstdint>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/cluster_exchange.cuh"
#include "ddpm/kernels/cuda/conv2d_tile.cuh"
#include "ddpm/kernels/cuda/conv2d_walk.cuh"

// How warps and then the blocks of a cluster add up their sums of a tile: each block sends the
// others what they take.
namespace ddpm::cuda::conv2d_tile {

inline constexpr int kMostParts = 8;  // blocks of a cluster
inline constexpr int kRowBytes = kTileChannels * static_cast<int>(sizeof(float));

// Warps' rows of sums are longer than these, so that a half warp's lie in different banks.
inline constexpr int kWarpRowStride = kTileChannels + 8;
inline constexpr int kWarpRowBytes =
    kWarps * kWarpPixels * kWarpRowStride * static_cast<int>(sizeof(float));

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// The pixels of a tile that each block adds up.
struct Shares {
  int each, pixels;

  __device__ explicit Shares(const ConvPlan& plan) : each(plan.pixels_each), pixels(plan.pixels) {}
  __device__ int count(int part) const { return max(0, min(each, pixels - part * each)); }
};

/// Where warps put their sums, so that those of the same pixels can be added up.
struct WarpRows {
  float* rows;

  __device__ float* row(int warp, int pixel) const {
    return rows + (warp * kWarpPixels + pixel) * kWarpRowStride;
  }
  __device__ void put(const WarpSums& warp) const {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    float* const first = row(static_cast<int>(threadIdx.x) / 32, lane / 4) + lane % 4 * 2;
#pragma unroll
    for (int r = 0; r < 4; ++r) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const float* const pair = warp.sums[r / 2][j] + r % 2 * 2;
        *reinterpret_cast<float2*>(first + r * 8 * kWarpRowStride + j * 8) = {pair[0], pair[1]};
      }
    }
  }
};

/// Where a thread's sums go: of four channels of every 32nd pixel.
struct Destinations {
  static constexpr int kQuads = kTileChannels / 4, kStep = kThreads / kQuads;
  static constexpr int kRows = kMostPixels / kStep;
  static_assert(kStep == kWarpPixels);
  static constexpr uint32_t kNone = 0, kOwn = 1;  // no barriers' addresses
  uint32_t sums[kRows], barriers[kRows];
  int splits;

  __device__ Destinations(const Shares& shares, const ConvPlan& plan, int part, uint32_t slots,
                          uint32_t barrier)
      : splits(plan.splits) {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      const int pixel = r * kStep + static_cast<int>(threadIdx.x) / kQuads;
      barriers[r] = kNone;
      if (pixel >= shares.pixels) continue;
      const int owner = pixel / shares.each;
      const int row = part * shares.each + pixel - owner * shares.each;
      const uint32_t own = slots + row * kRowBytes + quad() * 16;
      sums[r] = owner == part ? own : address_in_block(own, owner);
      barriers[r] = owner == part ? kOwn : address_in_block(barrier, owner);
    }
  }

  /// Adds up the warps' sums, in their order.
  __device__ void send(const WarpRows& warps) const {
#pragma unroll
    for (int r = 0; r < kRows; ++r) {
      if (barriers[r] == kNone) break;
      const float* const first =
          warps.row(r * splits, static_cast<int>(threadIdx.x) / kQuads) + quad() * 4;
      float4 sum{};
#pragma unroll
      for (int i = 0; i < kWarps; ++i) {
        if (i >= splits) break;
        const float4 more =
            *reinterpret_cast<const float4*>(first + i * kWarpPixels * kWarpRowStride);
        sum = {sum.x + more.x, sum.y + more.y, sum.z + more.z, sum.w + more.w};
      }
      if (barriers[r] == kOwn) {
        store_quad(sums[r], sum);
      } else {
        send_quad(sums[r], barriers[r], sum);
      }
    }
  }

 private:
  static __device__ int quad() { return static_cast<int>(threadIdx.x) % kQuads; }
};

/// The channels, four each, that a thread adds up.
///
/// @tparam kWhole all of a tile's channels are there.
template <bool kWhole>
struct OwnQuads {
  static constexpr int kQuads = kTileChannels / 4, kStep = kThreads / kQuads;
  static constexpr int kMost = kMostPixels / 2 / kStep;  // with two parts
  static constexpr int kPartsAtOnce = 4;

  int first, count;    // of the block's pixels
  int column;          // of the tile
  int channel;         // of y
  int64_t from, step;  // of y
  int image[kMost];
  int channels;  // that are there, of the four
  bool in_one;   // four channels can be read and written at once
  using Bits = unsigned short;
  const Bits *image_bias_from[kMost], *residual_from[kMost];      // null: there are none
  uint2 bias, residual_bias, image_bias[kMost], residual[kMost];  // of four channels

  __device__ OwnQuads(const ConvMaps& maps, const ConvPlan& plan, const TilePlace& place,
                      const Shares& shares, int part)
      : first(static_cast<int>(threadIdx.x) / kQuads),
        column(static_cast<int>(threadIdx.x) % kQuads * 4),
        channel(static_cast<int>(blockIdx.z) * kTileChannels + column),
        step(static_cast<int64_t>(kStep) * maps.out_channels) {
    channels = kWhole ? 4 : min(maps.out_channels - channel, 4);
    in_one = kWhole || maps.out_channels % 4 == 0;
    const int before = part * shares.each + first;
    count = channels <= 0 ? 0 : min(shares.count(part), place.pixels - part * shares.each);
    from = static_cast<int64_t>(place.first_pixel + before) * maps.out_channels + channel;
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      image[i] = place.image;
      if (plan.images > 1) image[i] += (before + i * kStep) / (maps.out_height * maps.out_width);
    }
  }
  __device__ bool has(int i) const { return first + i * kStep < count; }

  /// What the kernel before does not write, and where the rest stands.
  __device__ void load_biases(const ConvTensors& tensors) {
    bias = quad_or_zero(quad_at(tensors.addends.bias, channel));
    residual_bias = quad_or_zero(quad_at(tensors.addends.residual_bias, channel));
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      residual_from[i] = quad_at(has(i) ? tensors.addends.residual : nullptr, from + i * step);
      image_bias_from[i] = quad_at(has(i) ? tensors.image_bias : nullptr,
                                   image[i] * tensors.image_bias_stride + channel);
    }
  }
  __device__ void load() {
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      residual[i] = quad_or_zero(residual_from[i]);
      image_bias[i] = quad_or_zero(image_bias_from[i]);
    }
  }

  /// Adds up all parts' sums, in their order, with what else is added.
  ///
  /// @param moments of each channel, gets the sum of what was written, and of squares.
  __device__ void write(const Shares& shares, int parts, const float* slots, T* y,
                        float2 (&moments)[4]) const {
#pragma unroll
    for (int i = 0; i < kMost; ++i) {
      if (!has(i)) break;
      float4 sum{};
      add_to(sum, values_of(bias));
      add_to(sum, values_of(residual_bias));
      add_to(sum, values_of(image_bias[i]));
      add_to(sum, values_of(residual[i]));
      const float* at = slots + (first + i * kStep) * kTileChannels + column;
#pragma unroll 1
      for (int part = 0; part < parts; part += kPartsAtOnce) {
        float4 values[kPartsAtOnce];
#pragma unroll
        for (int k = 0; k < kPartsAtOnce; ++k) {  // all are read before one is needed
          values[k] = part + k < parts ? *reinterpret_cast<const float4*>(at) : float4{};
          at += shares.each * kTileChannels;
        }
#pragma unroll
        for (int k = 0; k < kPartsAtOnce; ++k) add_to(sum, values[k]);
      }
      const uint2 rounded{rounded_pair(sum.x, sum.y), rounded_pair(sum.z, sum.w)};
      store(y + from + i * step, rounded);
      const float4 written = values_of(rounded);
      const float of[4] = {written.x, written.y, written.z, written.w};
#pragma unroll
      for (int k = 0; k < 4; ++k) {
        moments[k] = {moments[k].x + of[k], fmaf(of[k], of[k], moments[k].y)};
      }
    }
  }

 private:
  // Bits: halves of a pair would be taken apart, and waited for, where they are loaded.
  __device__ const Bits* quad_at(const void* table, int64_t at) const {
    return table == nullptr || channels <= 0 ? nullptr : static_cast<const Bits*>(table) + at;
  }
  __device__ uint2 quad_or_zero(const Bits* from) const {
    if (from == nullptr) return {0, 0};
    if (in_one) return *reinterpret_cast<const uint2*>(from);
    uint32_t values[4] = {};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (k < channels) values[k] = from[k];
    }
    return {values[0] | values[1] << 16, values[2] | values[3] << 16};
  }
  __device__ void store(T* to, uint2 quad) const {
    if (in_one) {
      *reinterpret_cast<uint2*>(to) = quad;
      return;
    }
    auto* const bits = reinterpret_cast<Bits*>(to);
    const uint32_t values[4] = {quad.x & 0xFFFF, quad.x >> 16, quad.y & 0xFFFF, quad.y >> 16};
#pragma unroll
    for (int k = 0; k < 4; ++k) {
      if (k < channels) bits[k] = static_cast<Bits>(values[k]);
    }
  }
  static __device__ float4 values_of(uint2 quad) {
    return {__uint_as_float(quad.x << 16), __uint_as_float(quad.x & 0xFFFF0000U),
            __uint_as_float(quad.y << 16), __uint_as_float(quad.y & 0xFFFF0000U)};
  }
  static __device__ uint32_t rounded_pair(float low, float high) {
    const __nv_bfloat162 pair = __floats2bfloat162_rn(low, high);
    return reinterpret_cast<const uint32_t&>(pair);
  }
  static __device__ void add_to(float4& sum, const float4& more) {
    sum = {sum.x + more.x, sum.y + more.y, sum.z + more.z, sum.w + more.w};
  }
};

#endif

}  // namespace ddpm::cuda::conv2d_tile
