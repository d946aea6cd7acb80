#include <algorithm>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/group_norm_sums_kernels.h"

namespace ddpm::cuda {
namespace {

using bf16 = __nv_bfloat16;

constexpr int kNormThreads = 512, kFewestNormThreads = 256;
constexpr int kGroupLanes = 8;  // that add up a group
constexpr int kWarpGroups = 32 / kGroupLanes;
constexpr int kPartsOfThread = 4;  // under way at once

/// Of two neighbouring channels: sum and squares of the one, sum and squares of the other, of every
/// step'th part.
__device__ float4 add_parts(const NormFromSums& from, int64_t image, int channel, int first_part,
                            int step) {
  const bool is_rest = channel >= from.channels;
  const int own = is_rest ? from.rest_channels : from.channels;
  const int parts = is_rest ? from.rest_parts : from.parts;
  const float* const sums =
      (is_rest ? from.rest_sums : from.sums) +
      (image * parts * own + (is_rest ? channel - from.channels : channel)) * 2;
  float4 sum{0, 0, 0, 0};
#pragma unroll 4
  for (int part = first_part; part < parts; part += step) {
    const float4 more = *reinterpret_cast<const float4*>(sums + part * own * 2);
    sum = {sum.x + more.x, sum.y + more.y, sum.z + more.z, sum.w + more.w};
  }
  return sum;
}

__device__ __forceinline__ float entry(const void* table, int64_t at) {
  return __bfloat162float(static_cast<const bf16*>(table)[at]);
}
__device__ __forceinline__ float entry_or_zero(const void* table, int64_t at) {
  return table != nullptr ? entry(table, at) : 0.0F;
}

/// A channel's entries of the norm's weights, which a kernel may read before it waits.
struct Affine {
  float weight, bias;

  __device__ Affine(const NormFromSums& from, int channel)
      : weight(entry(from.weight, channel)), bias(entry(from.bias, channel)) {}
};
/// Its entries of an image's rows.
struct RowEntries {
  float time, stretch, shift;

  __device__ RowEntries(const NormFromSums& from, int64_t image, int channel)
      : time(entry_or_zero(from.time_embedding, image * from.time_embedding_stride + channel)),
        stretch(1.0F + entry_or_zero(from.scale, image * from.scale_stride + channel)),
        shift(entry_or_zero(from.shift, image * from.scale_stride + channel)) {}
};

struct Moments {
  double sum = 0, squares = 0;

  /// Adds a channel's, given in slices, to whose `pixels` values `added` was added.
  __device__ void add(const float2* slices, int num_slices, int step, double pixels, double added) {
    double own_sum = 0, own_squares = 0;
    for (int slice = 0; slice < num_slices; ++slice) {
      const float2 more = slices[slice * step];
      own_sum += more.x;
      own_squares += more.y;
    }
    const double more = pixels * added;
    sum += own_sum + more;
    squares += own_squares + added * (2 * own_sum + more);
  }
  /// Over the lanes of a group.
  __device__ void add_lanes() {
#pragma unroll
    for (int lanes = kGroupLanes / 2; lanes > 0; lanes /= 2) {
      sum += __shfl_xor_sync(~0U, sum, lanes);
      squares += __shfl_xor_sync(~0U, squares, lanes);
    }
  }
};

/// Puts the sums of an image's parts into shared memory in slices, which add up to them.
__device__ void gather_parts(const NormFromSums& from, int64_t image, int slices, float2* sums) {
  const int channels = from.channels + from.rest_channels, pairs = channels / 2;
  for (int i = threadIdx.x; i < pairs * slices; i += blockDim.x) {
    const int slice = i / pairs, channel = (i - slice * pairs) * 2;
    *reinterpret_cast<float4*>(sums + slice * channels + channel) =
        add_parts(from, image, channel, slice, slices);
  }
}

/// A block for an image. Its threads add up parts, then kGroupLanes of them take a group.
__global__ void __launch_bounds__(kNormThreads)
    norm_from_sums_kernel(NormFromSums from, int slices, double share, float2* norm) {
  extern __shared__ __align__(16) float2 sums[];  // [slice, channel]
  let_next_kernel_begin();
  const int channels = from.channels + from.rest_channels, of_group = channels / from.groups;
  const int lane = threadIdx.x % kGroupLanes, first_group = threadIdx.x / kGroupLanes;
  const int first_channel = min(first_group * of_group + lane, channels - 1);
  const Affine first_affine(from, first_channel);
  const int64_t image = blockIdx.x;
  wait_for_previous_kernel();
  const RowEntries first_row(from, image, first_channel);  // on their way with the sums
  gather_parts(from, image, slices, sums);
  __syncthreads();
  const int rounded = (from.groups + kWarpGroups - 1) / kWarpGroups * kWarpGroups;
  for (int group = first_group; group < rounded; group += blockDim.x / kGroupLanes) {
    const bool is_there = group < from.groups;
    const int begin = group * of_group;
    const auto row_of = [&](int c) {
      return begin + c == first_channel ? first_row : RowEntries(from, image, begin + c);
    };
    Moments moments;
    for (int c = lane; c < of_group && is_there; c += kGroupLanes) {
      moments.add(sums + begin + c, slices, channels, from.pixels, row_of(c).time);
    }
    moments.add_lanes();
    if (!is_there) continue;
    const double mean = moments.sum * share;
    const auto variance = static_cast<float>(fmax(moments.squares * share - mean * mean, 0.0));
    const float centre = static_cast<float>(mean), rstd = rsqrtf(variance + from.eps);
    if (lane == 0 && from.mean != nullptr) from.mean[image * from.groups + group] = centre;
    if (lane == 0 && from.rstd != nullptr) from.rstd[image * from.groups + group] = rstd;
    for (int c = lane; c < of_group; c += kGroupLanes) {
      const Affine affine = begin + c == first_channel ? first_affine : Affine(from, begin + c);
      const RowEntries row = row_of(c);
      const float a = rstd * affine.weight * row.stretch;
      norm[image * channels + begin + c] = {
          a, fmaf(row.time - centre, a, fmaf(affine.bias, row.stretch, row.shift))};
    }
  }
}

}  // namespace

cudaError_t norm_from_sums(const NormFromSums& from, float* norm, cudaStream_t stream) {
  const int channels = from.channels + from.rest_channels, pairs = channels / 2;
  const int parts = std::max({from.parts, from.rest_parts, 1});
  const int slices =
      std::clamp(kNormThreads / pairs, 1, (parts + kPartsOfThread - 1) / kPartsOfThread);
  const int threads = std::clamp(pairs * slices, kFewestNormThreads, kNormThreads) / 32 * 32;
  const double share = 1.0 / (static_cast<double>(from.pixels) * (channels / from.groups));
  return launch_early({.blocks = dim3(static_cast<unsigned>(from.images)),
                       .threads = dim3(static_cast<unsigned>(threads)),
                       .shared_bytes = static_cast<int>(sizeof(float2)) * channels * slices,
                       .stream = stream},
                      norm_from_sums_kernel, from, slices, share, reinterpret_cast<float2*>(norm));
}

}  // namespace ddpm::cuda
