#include "ddpm/kernels/cuda/device_clusters.h"
#include "ddpm/kernels/cuda/group_norm_silu_cluster_slice.cuh"

namespace ddpm::cuda {
namespace {

// A multiprocessor has 228 KiB of shared memory, of which each block takes 1 KiB more than it uses.
constexpr int kGoodBytes = 76600;       // three blocks a multiprocessor, with their barriers
constexpr int kFairBytes = 112 * 1024;  // two
constexpr int kMostBytes = 224 * 1024;
constexpr int kEnoughBlocks = 256;
constexpr int kMostSlices = 4;
constexpr int kLeastRowBytes = 192;  // of a slice's pixel: each of them is a copy

}  // namespace

ClusterPlan make_cluster_plan(const GroupNormShape& shape, int maps,
                              int (*scratch_bytes)(const GroupNormShape&, const ClusterPlan&),
                              int most_good_size) {
  const int pixel_bytes = shape.channels * (shape.bf16 ? 2 : 4);
  const auto plan_of = [&](int size) {
    ClusterPlan plan;
    plan.size = size;
    plan.pixels = (shape.pixels + size - 1) / size;
    plan.lanes = shape.channels / kVector;
    plan.rows = kClusterThreads / plan.lanes;
    const bool warp_has_rows = plan.lanes <= 16 && 16 % plan.lanes == 0;
    plan.partial_rows = warp_has_rows ? kClusterThreads / 32 : plan.rows;
    const int chunk = (plan.pixels + kChunks - 1) / kChunks;
    plan.chunk = (chunk + plan.rows - 1) / plan.rows * plan.rows;
    plan.map_bytes = plan.pixels * pixel_bytes;
    return plan;
  };
  const auto fits = [&](const ClusterPlan& plan, int bytes) {
    return static_cast<int64_t>(maps) * plan.map_bytes + scratch_bytes(shape, plan) <= bytes;
  };
  for (const int bytes : {kGoodBytes, kFairBytes, kMostBytes}) {
    for (int size = 1; size <= (bytes == kGoodBytes ? most_good_size : 16); size *= 2) {
      ClusterPlan plan = plan_of(size);
      const bool more_blocks_help =
          size < 8 && shape.images * size < kEnoughBlocks && plan.pixels >= 4 * plan.rows;
      if (!fits(plan, bytes) || more_blocks_help) continue;
      plan.resident = true;
      plan.good = bytes == kGoodBytes;
      return plan;
    }
  }
  return plan_of(8);
}

SliceShape make_slices(const GroupNormShape& maps_shape, int maps,
                       int (*scratch_bytes)(const GroupNormShape&, const ClusterPlan&)) {
  int best = 1, best_size = 0;
  for (int slices = 1; slices <= kMostSlices; ++slices) {
    const SliceShape shape(maps_shape, slices);
    const int row_bytes = shape.channels * (shape.bf16 ? 2 : 4);
    const bool divides = maps_shape.groups % slices == 0 && maps_shape.channels % slices == 0 &&
                         shape.channels % kVector == 0;
    if (!divides || (slices > 1 && row_bytes < kLeastRowBytes)) continue;
    const ClusterPlan plan = make_cluster_plan(shape, maps, scratch_bytes);
    if (!plan.good || (best_size > 0 && plan.size >= best_size)) continue;
    best = slices;
    best_size = plan.size;
  }
  return {maps_shape, best};
}

bool group_norm_silu_clusters(const GroupNormShape& shape) {
  const int64_t elements = static_cast<int64_t>(shape.pixels) * shape.channels;
  return device_has_clusters() && shape.groups >= 1 && shape.channels % shape.groups == 0 &&
         shape.channels % kVector == 0 && shape.rest_channels % kVector == 0 &&
         shape.channels / kVector <= kMaxLanes && shape.images > 0 && shape.images < (1 << 24) &&
         shape.pixels > 0 && elements < (int64_t{1} << 30);
}

}  // namespace ddpm::cuda
