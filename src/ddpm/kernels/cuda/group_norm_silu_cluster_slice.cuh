#pragma once

#include "ddpm/kernels/cuda/group_norm_silu_cluster.cuh"

// Groups are normed apart from each other, so that a cluster may take a slice of an image's
// channels, some whole groups, where slabs of all channels do not fit into shared memory. A slice
// counts as an image, of a shape of its own. In dense tables it is one:
//
//     [images, channels] = [images * slices, channels / slices], and so with groups
//
// Maps, weights and tables of strided rows have all channels: there a slice begins at its first.
namespace ddpm::cuda {

/// The shape of slices. How many of their channels stand in x_rest, a SlicePlace knows.
struct SliceShape : GroupNormShape {
  GroupNormShape maps;  // that they are taken from
  int slices;           // of an image

  SliceShape(const GroupNormShape& whole, int count)
      : GroupNormShape(whole), maps(whole), slices(count) {
    images *= count;
    channels /= count;
    groups /= count;
    rest_channels = 0;
  }
};

/// What a thread of a block is among slices, and among the channels of the maps.
struct SlicePlace : ClusterPlace {
  ClusterPlace in_maps;
  int first_channel;  // of the slice in the maps
  int main_channels;  // of the slice, which stand in x, before those in x_rest

  __device__ SlicePlace(const SliceShape& shape, const ClusterPlan& plan, int slices)
      : ClusterPlace(shape, plan), in_maps(*this) {
    const int x_channels = shape.maps.channels - shape.maps.rest_channels;
    first_channel = image % slices * shape.channels;
    main_channels = max(0, min(shape.channels, x_channels - first_channel));
    in_rest = channel() >= main_channels;
    in_maps.image = image / slices;
    in_maps.lane += first_channel / kVector;
    in_maps.in_rest = in_rest;
  }
};

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// Tells the barriers how much comes, before anything does.
inline __device__ void expect_slabs(const ClusterPlan& plan, const ClusterPlace& place,
                                    ChunkBarrier* barriers, int pixel_bytes) {
  if (threadIdx.x == 0) {
    for (int i = 0; i < kChunks; ++i) {
      const int pixels = min(plan.chunk, place.count - i * plan.chunk);
      if (pixels > 0) barriers[i].expect(static_cast<uint32_t>(pixels * pixel_bytes));
    }
  }
  __syncthreads();
}

/// Some channels of a map's slab, and where in shared memory they go: [pixels, channels].
template <typename T>
struct SlabChannels {
  T* to;
  SlabLane<const T> from;
  int channels;
};

/// Of a map of `step` channels, from `channel` on.
template <typename T>
__device__ SlabLane<const T> slab_from(const GroupNormShape& maps, const SlicePlace& place,
                                       const void* map, int channel, int step) {
  const int64_t pixel = static_cast<int64_t>(place.in_maps.image) * maps.pixels + place.first;
  return {static_cast<const T*>(map) + pixel * step + channel, step};
}

/// The block starts the copies. What is dense in memory comes in a copy a chunk, which the first
/// thread of `warp` starts, otherwise in a copy a pixel.
template <typename T>
__device__ void copy_slab(const ClusterPlan& plan, const ClusterPlace& place,
                          ChunkBarrier* barriers, const SlabChannels<T>& slab, int warp) {
  const int channels = slab.channels;
  const int thread = static_cast<int>(threadIdx.x);
  if (channels == 0) return;
  if (channels == slab.from.step) {
    if (thread != warp * 32) return;
    for (int i = 0; i < kChunks; ++i) {
      const int begin = i * plan.chunk;
      const int end = min(place.count, begin + plan.chunk);
      if (begin >= end) break;
      copy_chunk(barriers[i], slab.to, slab.from.base, /*slab_begin=*/0, channels, begin, end);
    }
    return;
  }
  // A warp's threads start theirs one by one: the warps share the slab's first pixels, then others.
  constexpr int kWarps = kClusterThreads / 32;
  for (int p = thread / 32 + thread % 32 * kWarps; p < place.count; p += kClusterThreads) {
    barriers[p / plan.chunk].copy(slab.to + p * channels,
                                  slab.from.base + static_cast<int64_t>(p) * slab.from.step,
                                  static_cast<uint32_t>(channels) * sizeof(T));
  }
}

#endif

/// The fewest slices in the smallest clusters of which three blocks share a multiprocessor, with
/// `maps` slabs resident: of a larger cluster each block has less to do for the same exchange. One
/// if none are so.
SliceShape make_slices(const GroupNormShape& maps_shape, int maps,
                       int (*scratch_bytes)(const GroupNormShape&, const ClusterPlan&));

}  // namespace ddpm::cuda
