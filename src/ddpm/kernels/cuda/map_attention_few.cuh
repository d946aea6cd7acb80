#pragma once

#include <cstdint>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/conv2d_lane_parts.cuh"
#include "ddpm/kernels/cuda/map_attention_kernels.h"
#include "ddpm/kernels/cuda/tensor_core.cuh"
#include "ddpm/kernels/cuda/vector_types.cuh"

// What a block of map_attention_few.cu works with: products of 32 rows a warp with eight queries.
namespace ddpm::cuda::map_attention_few {

using T = __nv_bfloat16;
constexpr int kQueries = kFewMapsSumPixels;  // of a block
constexpr int kTiles = 2, kTileRows = 16;    // of a warp: of a weight, of pixels or of channels
constexpr int kWarpRows = kTiles * kTileRows;
constexpr int kWarps = kMapChannels / kWarpRows, kThreads = kWarps * 32;
static_assert(kMapPixels <= kWarps * kWarpRows && kThreads == kMapChannels);

// Rows lie so that eight of them differ in their banks, or pairs of them as WeightColumns reads.
constexpr int kRowStride = kMapChannels + 8, kPairStride = kMapChannels + 32;
using Rows = T[kQueries][kRowStride];
using Pairs = T[kQueries][kPairStride];

// So much of the second weight waits in shared memory, the rest in registers.
constexpr int kKeptChannels = kMapChannels / 2, kLaneChannels = 32;
constexpr int kKeptLoads = kKeptChannels / kLaneChannels * kTiles * 2;

struct Shared {
  T pixels[kMapPixels][kRowStride];
  uint4 weight[kKeptLoads][kThreads];  // each thread's own
  Rows queries, shares;                // whose products are scores; of softmax
  Pairs normed, attended;              // pixels whose queries are the block's; their sums
  float2 norm[kMapChannels];           // a and b: n = a x + b
  float most[kWarps][kQueries], sum[kWarps][kQueries];  // of each warp's pixels
  uint64_t come[kWarps];                                // a warp's pixels
};

__device__ __forceinline__ int warp_index() { return static_cast<int>(threadIdx.x) / 32; }
__device__ __forceinline__ int lane_index() { return static_cast<int>(threadIdx.x) % 32; }

/// Sums of a warp's rows and eight queries, in the layout of mma.m16n8k16: a lane has rows lane / 4
/// and lane / 4 + 8 of each tile, of queries lane % 4 * 2 and the next.
struct Sums {
  float of[kTiles][4] = {};

  __device__ void add(const Sums& more) {
#pragma unroll
    for (int i = 0; i < kTiles * 4; ++i) of[i / 4][i % 4] += more.of[i / 4][i % 4];
  }
};
/// The same rounded.
using Pair = uint32_t[kTiles][2];

/// Row i of a lane's four in a warp's.
__device__ __forceinline__ int lane_row(int tile, int half) {
  return warp_index() * kWarpRows + tile * kTileRows + half * 8 + lane_index() / 4;
}

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// Writes a warp's rows of sums turned: side by side in each query's row of `to`.
template <int kStride>
__device__ __forceinline__ void put_turned(const Pair& pairs, T (&to)[kQueries][kStride]) {
  static_assert(kTiles == 2);
  const int lane = lane_index();
  asm volatile("stmatrix.sync.aligned.m8n8.x4.trans.shared.b16 [%0], {%1, %2, %3, %4};" ::"r"(
                   shared_address(&to[lane % 8][warp_index() * kWarpRows + lane / 8 * 8])),
               "r"(pairs[0][0]), "r"(pairs[0][1]), "r"(pairs[1][0]), "r"(pairs[1][1])
               : "memory");
}

#endif

__device__ __forceinline__ uint32_t rounded(float first, float second) {
  const __nv_bfloat162 pair = __floats2bfloat162_rn(first, second);
  return reinterpret_cast<const uint32_t&>(pair);
}
__device__ __forceinline__ float2 unrounded(uint32_t pair) {
  return __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(pair));
}

/// Some columns of a warp's rows of a weight. A product sums its channels in another order than
/// they stand in, so that a lane's are neighbours: eight of 32, for two steps.
template <int kChannels>
struct WeightColumns {
  static constexpr int kLoads = kChannels / kLaneChannels;
  uint4 rows[kTiles][2][kLoads];

  /// visit(what stands there, from where) for each 16 bytes of the lane.
  template <typename Visit>
  __device__ void each(const void* weight, int first_channel, const Visit& visit) {
    const T* const from =
        static_cast<const T*>(weight) + first_channel + lane_index() % 4 * kVector;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
#pragma unroll
      for (int j = 0; j < kTiles * 2; ++j) {
        visit(rows[j / 2][j % 2][i],
              from + lane_row(j / 2, j % 2) * kMapChannels + i * kLaneChannels);
      }
    }
  }
  __device__ void load(const void* weight, int first_channel) {
    each(weight, first_channel,
         [](uint4& value, const T* from) { value = __ldg(reinterpret_cast<const uint4*>(from)); });
  }

  /// sums += rows queries^T, odd steps to others.
  __device__ void multiply(const Pairs& queries, int first_channel, Sums& sums,
                           Sums& others) const {
    const T* const from = queries[lane_index() / 4] + first_channel + lane_index() % 4 * kVector;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const uint4 query = *reinterpret_cast<const uint4*>(from + i * kLaneChannels);
      const uint32_t first[2] = {query.x, query.y}, second[2] = {query.z, query.w};
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        const uint4 &low = rows[tile][0][i], &high = rows[tile][1][i];
        multiply_add(sums.of[tile], {low.x, high.x, low.y, high.y}, first);
        multiply_add(others.of[tile], {low.z, high.z, low.w, high.w}, second);
      }
    }
  }
};

/// A table's values for a lane's rows.
struct OfRows {
  float of[kTiles][2];

  __device__ explicit OfRows(const void* table) {
#pragma unroll
    for (int i = 0; i < kTiles * 2; ++i) {
      of[i / 2][i % 2] = __bfloat162float(static_cast<const T*>(table)[lane_row(i / 2, i % 2)]);
    }
  }
};

/// f of what the lanes of a query have, of a lane's two queries.
template <typename F>
__device__ __forceinline__ float2 over_rows(float2 value, const F& f) {
#pragma unroll
  for (int step = 4; step < 32; step *= 2) {
    value.x = f(value.x, __shfl_xor_sync(~0U, value.x, step));
    value.y = f(value.y, __shfl_xor_sync(~0U, value.y, step));
  }
  return value;
}
/// f of what all warps have.
template <typename F>
__device__ __forceinline__ float2 over_warps(const float (&rows)[kWarps][kQueries], const F& f) {
  const int query = lane_index() % 4 * 2;
  float2 all = *reinterpret_cast<const float2*>(&rows[0][query]);
#pragma unroll
  for (int warp = 1; warp < kWarps; ++warp) {
    const float2 more = *reinterpret_cast<const float2*>(&rows[warp][query]);
    all = {f(all.x, more.x), f(all.y, more.y)};
  }
  return all;
}

/// The norm of a thread's channel.
class ChannelNorm {
 public:
  using LaneParts = conv2d_tile::LaneParts;

  /// @param pixels of the map.
  __device__ ChannelNorm(const ConvNorm& norm, int image, int pixels)
      : group_channels_(kMapChannels / norm.groups), eps_(norm.eps) {
    const int channel = static_cast<int>(threadIdx.x);
    scale_ = 1.0F / static_cast<float>(pixels * group_channels_);
    weight_ = __bfloat162float(static_cast<const T*>(norm.weight)[channel]);
    bias_ = __bfloat162float(static_cast<const T*>(norm.bias)[channel]);
    parts_ = {reinterpret_cast<const float2*>(norm.sums) +
                  static_cast<int64_t>(image) * norm.parts * kMapChannels + channel,
              norm.parts, kMapChannels};
  }
  /// The first parts, on their way.
  __device__ void begin(float2 (&loads)[LaneParts::kLoads]) const { parts_.load(0, loads); }
  /// a and b
  __device__ float2 find(const float2 (&loads)[LaneParts::kLoads]) const {
    float2 sum = parts_.add_all(LaneParts::add({0, 0}, loads), LaneParts::kLoads);
    for (int step = 1; step < group_channels_; step *= 2) {
      sum.x += __shfl_xor_sync(~0U, sum.x, step);
      sum.y += __shfl_xor_sync(~0U, sum.y, step);
    }
    const float mean = sum.x * scale_;
    const float rstd = rsqrtf(fmaxf(fmaf(sum.y, scale_, -mean * mean), 0.0F) + eps_);
    const float a = rstd * weight_;
    return {a, fmaf(-mean, a, bias_)};
  }

 private:
  int group_channels_;
  float eps_, scale_, weight_, bias_;
  LaneParts parts_;
};

}  // namespace ddpm::cuda::map_attention_few
