#pragma once

#include "ddpm/kernels/cuda/conv2d_warpgroup_tile.cuh"

// How the blocks of a cluster add up their parts of one tile's sums: each sends the others what
// they write, over the shared memory that held pixels and weights.
namespace ddpm::cuda::warpgroup {

/// Who adds.
struct Adder {
  int rank;           // of the block in its cluster
  int group, thread;  // of the block's multipliers
};

/// What the others do while the multipliers add: meet them as often.
__device__ __forceinline__ void watch_cluster_add() {
  meet_cluster();
  meet_cluster();
}

/// sums += those of the cluster's other blocks, for the patches that this block writes. The order
/// depends on the patch alone.
template <typename Form>
__device__ void add_parts_of_cluster(float (&sums)[Form::kGroupPatches][64], void* memory,
                                     const Adder& own) {
  constexpr int kPatches = Form::kPatches / Form::kSplit;  // that a block writes
  constexpr int kFours = 16;                               // of a thread's sums of a patch
  const uint32_t base = shared_address(memory);
  // Of the sender's patch, a place for each of its four numbers.
  const auto place = [&](int slot, int patch, int four) {
    return base +
           (((slot * kPatches + patch % kPatches) * kFours + four) * kGroupThreads + own.thread) *
               16;
  };
  meet_cluster();  // nobody reads pixels or weights any more
#pragma unroll
  for (int p = 0; p < Form::kGroupPatches; ++p) {
    const int patch = Form::kGroupPatches * own.group + p, writer = patch / kPatches;
    if (writer == own.rank) continue;
    const int slot = own.rank < writer ? own.rank : own.rank - 1;
#pragma unroll
    for (int four = 0; four < kFours; ++four) {
      const float* from = sums[p] + 4 * four;
      store_in_cluster(place(slot, patch, four), writer, {from[0], from[1], from[2], from[3]});
    }
  }
  meet_cluster();  // all has come
  const auto* bytes = static_cast<const unsigned char*>(memory);
#pragma unroll
  for (int p = 0; p < Form::kGroupPatches; ++p) {
    const int patch = Form::kGroupPatches * own.group + p;
    if (patch / kPatches != own.rank) continue;
#pragma unroll
    for (int slot = 0; slot < Form::kSplit - 1; ++slot) {
#pragma unroll
      for (int four = 0; four < kFours; ++four) {
        const float4 more =
            *reinterpret_cast<const float4*>(bytes + (place(slot, patch, four) - base));
        sums[p][4 * four] += more.x;
        sums[p][4 * four + 1] += more.y;
        sums[p][4 * four + 2] += more.z;
        sums[p][4 * four + 3] += more.w;
      }
    }
  }
}

}  // namespace ddpm::cuda::warpgroup
