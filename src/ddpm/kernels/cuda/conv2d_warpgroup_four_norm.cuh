#pragma once

#include "ddpm/kernels/cuda/conv2d_warpgroup_tile.cuh"
#include "ddpm/kernels/cuda/norm_silu.cuh"

// The norm of eight channels of a 4x4 map. Such a map's sums are so few that each thread takes them
// itself: no kernel has to make numbers of them before.
namespace ddpm::cuda::warpgroup {

__device__ __forceinline__ bool has_norm(const WarpgroupConvTensors& t) {
  return t.norm != nullptr || t.norm_from.groups > 0;
}

__device__ __forceinline__ uint4 load_eight(const void* table, int64_t at) {
  return __ldg(reinterpret_cast<const uint4*>(static_cast<const bf16*>(table) + at));
}
__device__ __forceinline__ float value_of(const uint4& eight, int i) {
  const uint32_t two = i < 4 ? (i < 2 ? eight.x : eight.y) : (i < 6 ? eight.z : eight.w);
  return __uint_as_float(i % 2 == 0 ? two << 16 : two & 0xFFFF0000U);
}

/// The mean and 1 / deviation of the group that eight channels belong to, by whole warps, of which
/// four neighbouring lanes have neighbouring eights of an image.
///
/// @param channel Of all channels the first of the eight.
__device__ __forceinline__ float2 statistics_of_eight(const NormFromSums& from, int image,
                                                      int channel) {
  constexpr int kVectors = kEight / 2;
  const bool is_rest = channel >= from.channels;
  const int parts = is_rest ? from.rest_parts : from.parts;
  const int vectors = (is_rest ? from.rest_channels : from.channels) / 2;
  const float4* sums = reinterpret_cast<const float4*>(is_rest ? from.rest_sums : from.sums) +
                       static_cast<int64_t>(image) * parts * vectors +
                       (channel - (is_rest ? from.channels : 0)) / 2;
  float sum = 0, squares = 0;
#pragma unroll 1
  for (int part = 0; part < parts; ++part, sums += vectors) {
#pragma unroll
    for (int i = 0; i < kVectors; ++i) {
      const float4 two = __ldg(sums + i);
      sum += two.x + two.z;
      squares += two.y + two.w;
    }
  }
  const int of_group = (from.channels + from.rest_channels) / from.groups;
#pragma unroll 1
  for (int lanes = 1; lanes * kEight < of_group; lanes *= 2) {
    sum += __shfl_xor_sync(~0U, sum, lanes);
    squares += __shfl_xor_sync(~0U, squares, lanes);
  }
  const float share = 1.0F / static_cast<float>(from.pixels * of_group), mean = sum * share;
  return {mean, rsqrtf(fmaxf(fmaf(squares, share, -mean * mean), 0.0F) + from.eps)};
}

/// Eight channels of an image.
struct EightOfFour {
  int image = 0, channel = 0;     // of all channels the first of the eight
  bool keeps_statistics = false;  // of its group, where somebody wants them
};

__device__ __forceinline__ void keep_statistics(const NormFromSums& from, const EightOfFour& eight,
                                                float2 statistics) {
  const int of_group = (from.channels + from.rest_channels) / from.groups;
  if (!eight.keeps_statistics || from.mean == nullptr || eight.channel % of_group != 0) return;
  const int64_t at = static_cast<int64_t>(eight.image) * from.groups + eight.channel / of_group;
  from.mean[at] = statistics.x;
  from.rstd[at] = statistics.y;
}

/// As NormOfEight::load_halves().
__device__ __forceinline__ void load_halves(NormOfEight& halves, const WarpgroupConv& conv,
                                            const WarpgroupConvTensors& t,
                                            const EightOfFour& eight) {
  const int image = eight.image, channel = eight.channel;
  if (t.norm != nullptr) {
    const int64_t row = static_cast<int64_t>(image) * (conv.channels + conv.rest_channels);
    return halves.load_halves(t.norm + (row + channel) * 2);
  }
  const NormFromSums& from = t.norm_from;
  const uint4 weight = load_eight(from.weight, channel), bias = load_eight(from.bias, channel);
  const float2 of = statistics_of_eight(from, image, channel);
  keep_statistics(from, eight, of);
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    const float a = 0.5F * of.y * value_of(weight, i);
    halves.of[i] = {a, fmaf(-of.x, a, 0.5F * value_of(bias, i))};
  }
  if (from.scale == nullptr) return;
  const int64_t row = static_cast<int64_t>(image) * from.scale_stride + channel;
  const uint4 scale = load_eight(from.scale, row), shift = load_eight(from.shift, row);
#pragma unroll
  for (int i = 0; i < kEight; ++i) {
    const float factor = 1.0F + value_of(scale, i);
    halves.of[i] = {halves.of[i].x * factor,
                    fmaf(halves.of[i].y, factor, 0.5F * value_of(shift, i))};
  }
}

}  // namespace ddpm::cuda::warpgroup
