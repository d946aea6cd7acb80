#pragma once

#include "ddpm/kernels/cuda/cluster_exchange.cuh"
#include "ddpm/kernels/cuda/group_norm_silu_cluster_slice.cuh"

// What the blocks of group_norm_silu_cluster_backward.cu do around their two passes.
namespace ddpm::cuda::cluster_backward {

// Per channel: sums over a slab of d_z, of d_z * x and of x; and what the two passes multiply by:
// z = x * factor + offset, d_x = d_z * factor - x * slope - level.
enum BackwardArray {
  kSumDz,
  kSumDzX,
  kSumX,
  kCentre,  // mean - added
  kFactor,
  kOffset,
  kWhole,  // [size, 3, share]: the sums of all slabs, of this block's share of the channels
  kBackwardArrays = kWhole + 3,
  kSlope = kSumDz,  // which have been sent by then
  kLevel = kSumDzX
};
using BackwardScratch = ClusterScratch<kBackwardArrays>;

inline constexpr int kBackwardBlocks = 3;  // of a multiprocessor

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

template <typename T>
__device__ void load_constants(const GroupNormShape& shape, const SlicePlace& place,
                               const GroupNormTensors& tensors, const BackwardScratch& scratch) {
  const int channels = shape.channels;
  const int per_group = channels / shape.groups;
  const int first = place.first_channel;
  const int64_t row = place.in_maps.image * tensors.scale_stride + first;
  const int64_t time_row = place.in_maps.image * tensors.time_embedding_stride + first;
  each_channel(shape, [&](int c) {
    const int group = place.image * shape.groups + c / per_group;
    const float centre = tensors.mean[group] - entry_or<T>(tensors.time_embedding, time_row + c, 0);
    const float stretch = 1 + entry_or<T>(tensors.scale, row + c, 0);
    const float factor = entry_or<T>(tensors.weight, first + c, 1) * stretch * tensors.rstd[group];
    const float offset =
        entry_or<T>(tensors.bias, first + c, 0) * stretch + entry_or<T>(tensors.shift, row + c, 0);
    scratch.channel[kCentre * channels + c] = centre;
    scratch.channel[kFactor * channels + c] = factor;
    scratch.channel[kOffset * channels + c] = offset - centre * factor;
  });
  __syncthreads();
}

/// d loss / d z from d loss / d y. @param factor of dropout. @param t silu(z), if that is computed.
template <NormTail kTail>
__device__ __forceinline__ float tail_gradient(float z, float d_y, float factor, float& t) {
  if constexpr (kTail == NormTail::kNone) return d_y;
  const float s = sigmoid(z);
  t = z * s;
  const float d_z = d_y * fmaf(t, 1 - s, s);
  return kTail == NormTail::kSiluDropout ? d_z * factor : d_z;
}

/// How many bytes come to a block by send_sums() of all blocks.
inline __device__ uint32_t bytes_of_sums(const GroupNormShape& shape, const ClusterPlan& plan,
                                         int rank) {
  const int share = BackwardScratch::share(shape, plan);
  const int channels = max(0, min(share, shape.channels - rank * share));
  return static_cast<uint32_t>(plan.size * (BackwardScratch::row_of_groups(shape) + 3 * channels)) *
         sizeof(float);
}

/// group[k, g]: the slab's part of the groups' sums, of d_x * std, and times the normalised values.
inline __device__ void sum_groups(const GroupNormShape& shape, const BackwardScratch& scratch) {
  const int channels = shape.channels;
  const int per_group = channels / shape.groups;
  for (int g = static_cast<int>(threadIdx.x); g < shape.groups; g += kClusterThreads) {
    float sums[2] = {0, 0};
#pragma unroll 4
    for (int c = g * per_group; c < (g + 1) * per_group; ++c) {
      const float d_normed = scratch.channel[kFactor * channels + c];
      const float d_z = scratch.channel[kSumDz * channels + c];
      const float centre = scratch.channel[kCentre * channels + c];
      sums[0] += d_normed * d_z;
      sums[1] += d_normed * (scratch.channel[kSumDzX * channels + c] - centre * d_z);
    }
    scratch.group[g] = sums[0];
    scratch.group[shape.groups + g] = sums[1];
  }
  __syncthreads();
}

/// Those go to all blocks, the channels' sums to the block that writes them.
inline __device__ void send_sums(const GroupNormShape& shape, const ClusterPlan& plan,
                                 const ClusterPlace& place, const BackwardScratch& scratch,
                                 const ArrivalBarrier& arrival) {
  const int share = BackwardScratch::share(shape, plan);
  const int row = BackwardScratch::row_of_groups(shape);
  const auto send = [&](const float* to, int rank, const float4& quad) {
    const uint32_t address = shared_address(to);
    if (plan.size == 1) return store_quad(address, quad);  // no cluster was launched
    send_quad(address_in_block(address, rank), address_in_block(arrival.address(), rank), quad);
  };
  for (int i = static_cast<int>(threadIdx.x); i < plan.size * row / 4; i += kClusterThreads) {
    const int rank = i % plan.size, at = i / plan.size * 4;
    const float* const from = scratch.group + at;  // beyond the last group nobody reads it
    send(scratch.exchange + place.rank * row + at, rank, {from[0], from[1], from[2], from[3]});
  }
  for (int i = static_cast<int>(threadIdx.x); i < 3 * shape.channels / 4; i += kClusterThreads) {
    const int k = i % 3, c = i / 3 * 4, owner = c / share;
    const float* const from = scratch.channel + k * shape.channels + c;
    send(scratch.channel + kWhole * shape.channels + (place.rank * 3 + k) * share + c % share,
         owner, {from[0], from[1], from[2], from[3]});
  }
}

/// group[g] = mean of d_x * std over the group's values; group[groups + g]: times centred.
inline __device__ void merge_groups(const GroupNormShape& shape, const ClusterPlan& plan,
                                    const BackwardScratch& scratch) {
  const float count =
      static_cast<float>(shape.channels / shape.groups) * static_cast<float>(shape.pixels);
  for (int i = static_cast<int>(threadIdx.x); i < 2 * shape.groups; i += kClusterThreads) {
    float sum = 0;
    for (int r = 0; r < plan.size; ++r) {
      sum += scratch.exchange[r * BackwardScratch::row_of_groups(shape) + i];
    }
    scratch.group[i] = sum / count;
  }
  __syncthreads();
}

/// d_x = d_z factor - level' - centred slope, where level' and slope come from the groups' means:
/// d_x = rstd (d_normed - mean(d_normed) - normed mean(d_normed normed)).
inline __device__ void load_slopes(const GroupNormShape& shape, const ClusterPlace& place,
                                   const GroupNormTensors& tensors,
                                   const BackwardScratch& scratch) {
  const int channels = shape.channels;
  const int per_group = channels / shape.groups;
  each_channel(shape, [&](int c) {
    const int g = c / per_group;
    const float rstd = tensors.rstd[place.image * shape.groups + g];
    const float slope = rstd * rstd * scratch.group[shape.groups + g];
    scratch.channel[kSlope * channels + c] = slope;
    scratch.channel[kLevel * channels + c] =
        scratch.group[g] - scratch.channel[kCentre * channels + c] * slope;
  });
  __syncthreads();
}

/// Gradients with one value an image and channel; each block writes its share of the channels.
template <typename T>
__device__ void write_channels(const GroupNormShape& shape, const ClusterPlan& plan,
                               const SlicePlace& place, const GroupNormTensors& tensors,
                               const GroupNormGradients& gradients, const BackwardScratch& scratch,
                               int share) {
  const int per_group = shape.channels / shape.groups;
  const int64_t row = place.in_maps.image * tensors.scale_stride;
  const int begin = place.rank * share;
  const int count = min(share, shape.channels - begin);
  for (int i = static_cast<int>(threadIdx.x); i < count; i += kClusterThreads) {
    float sums[3] = {0, 0, 0};
    for (int r = 0; r < plan.size; ++r) {
      const float* from = scratch.channel + kWhole * shape.channels + r * 3 * share + i;
#pragma unroll
      for (int k = 0; k < 3; ++k) sums[k] += from[k * share];
    }
    const int c = begin + i;
    const int group = c / per_group;
    const float rstd = tensors.rstd[place.image * shape.groups + group];
    const float centre = scratch.channel[kCentre * shape.channels + c];
    const float d_z = sums[0], d_z_normed = (sums[1] - centre * d_z) * rstd;
    const int map_channel = place.first_channel + c;
    const float stretch = 1 + entry_or<T>(tensors.scale, row + map_channel, 0);
    const float weight = entry_or<T>(tensors.weight, map_channel, 1);
    const int64_t at = static_cast<int64_t>(place.image) * shape.channels + c;
    gradients.sums[at] = stretch * d_z;
    gradients.sums[static_cast<int64_t>(shape.images) * shape.channels + at] = stretch * d_z_normed;
    if (gradients.d_shift != nullptr) static_cast<T*>(gradients.d_shift)[at] = static_cast<T>(d_z);
    if (gradients.d_scale != nullptr) {
      const float bias = entry_or<T>(tensors.bias, map_channel, 0);
      static_cast<T*>(gradients.d_scale)[at] = static_cast<T>(weight * d_z_normed + bias * d_z);
    }
    if (gradients.d_time_embedding == nullptr && !gradients.map_sums.are_wanted()) continue;
    const auto pixels = static_cast<float>(shape.pixels);
    const float d_added =  // d_x, summed over pixels
        weight * stretch * rstd * d_z - scratch.group[group] * pixels -
        scratch.group[shape.groups + group] * rstd * rstd * (sums[2] - pixels * centre);
    if (gradients.d_time_embedding != nullptr) {
      static_cast<T*>(gradients.d_time_embedding)[at] = static_cast<T>(d_added);
    }
    gradients.sums[static_cast<int64_t>(2 * shape.images) * shape.channels + at] = d_added;
  }
}

/// Starts the copies of the slabs of d_y and, of two maps, of x and x_rest, which stand in this
/// order from `slab` on.
template <typename T, int kMaps>
__device__ void copy_slabs(const SliceShape& shape, const ClusterPlan& plan,
                           const SlicePlace& place, const GroupNormTensors& tensors,
                           const GroupNormGradients& gradients, ChunkBarrier* barriers, T* slab) {
  const GroupNormShape& maps = shape.maps;
  const int first = place.first_channel, channels = shape.channels;
  expect_slabs(plan, place, barriers, kMaps * channels * static_cast<int>(sizeof(T)));
  const auto d_y = slab_from<T>(maps, place, gradients.d_y, first, maps.channels);
  copy_slab<T>(plan, place, barriers, {slab, d_y, channels}, /*warp=*/0);
  if constexpr (kMaps == 2) {
    const int main = place.main_channels, rest = maps.rest_channels;
    const int x_channels = maps.channels - rest;
    T* const x_slab = slab + plan.pixels * channels;
    const auto x = slab_from<T>(maps, place, tensors.x, first, x_channels);
    copy_slab<T>(plan, place, barriers, {x_slab, x, main}, /*warp=*/1);
    const auto x_rest = slab_from<T>(maps, place, tensors.x_rest, max(0, first - x_channels), rest);
    copy_slab<T>(plan, place, barriers, {x_slab + plan.pixels * main, x_rest, channels - main},
                 /*warp=*/2);
  }
}

/// A thread's vectors of a map, pixel by pixel, each asked for while the one before is worked on.
/// Zeros where there is no map. What stands in shared memory is read when it is needed.
template <typename T, bool kShared = false>
struct LoadAhead {
  SlabLane<const T> lane;
  int rows, count;
  Packed<T> next{};

  __device__ LoadAhead(const SlabLane<const T>& of, const ClusterPlan& plan,
                       const ClusterPlace& place)
      : lane(of), rows(plan.rows), count(place.works && of.base != nullptr ? place.count : 0) {
    if constexpr (!kShared) load(place.row);
  }
  __device__ void load(int pixel) {
    if (pixel < count) next = load_packed(lane.base + static_cast<int64_t>(pixel) * lane.step);
  }
  __device__ Packed<T> take(int pixel) {
    if constexpr (kShared) return load_packed(lane.base + pixel * lane.step);
    const Packed<T> taken = next;
    load(pixel + rows);
    return taken;
  }
};

/// Of the output, which stands whole or in two maps.
template <typename T>
__device__ SlabLane<T> output_lane(const GroupNormShape& shape, const ClusterPlace& place, T* y,
                                   T* y_rest) {
  if (y == nullptr || y_rest != nullptr) return slab_lane(shape, place, y, y_rest);
  return slab_lane(shape, place, y);
}

#endif

}  // namespace ddpm::cuda::cluster_backward
