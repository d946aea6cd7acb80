#pragma once

#include "ddpm/kernels/cuda/cluster_exchange.cuh"
#include "ddpm/kernels/cuda/conv2d_warpgroup_tile.cuh"

// How the blocks of a cluster add up their parts of one tile's sums: each leaves what others write
// where it had pixels and weights, and reads from theirs what it writes itself.
namespace ddpm::cuda::warpgroup {

/// Who adds.
struct Adder {
  int rank;           // of the block in its cluster
  int group, thread;  // of the block's multipliers
};

/// sums += those of the cluster's other blocks, for the patches that this block writes. The order
/// depends on the patch alone. By all multipliers; those of the group that writes
/// wait_for_cluster() before they end, as others read from the block until then.
template <typename Form>
__device__ void add_parts_of_cluster(float (&sums)[Form::kGroupPatches][64], Shared<Form>& shared,
                                     const Adder& own) {
  constexpr int kWritten = Form::kPatches / Form::kSplit;  // patches, by a block
  constexpr int kFours = 16;                               // of a thread's sums of a patch
  constexpr int kFourBytes = kGroupThreads * 16;           // from one to the next
  static_assert(Form::kPatches * kFours * kFourBytes <= offsetof(Shared<Form>, result));
  const uint32_t base = shared_address(&shared) + own.thread * 16;
  const auto place = [&](int patch) { return base + patch * kFours * kFourBytes; };
  take_pixels();
#pragma unroll
  for (int p = 0; p < Form::kGroupPatches; ++p) {
    const int patch = Form::kGroupPatches * own.group + p;
    if (patch / kWritten == own.rank) continue;
#pragma unroll
    for (int four = 0; four < kFours; ++four) {
      const float* from = sums[p] + 4 * four;
      store_quad(place(patch) + four * kFourBytes, {from[0], from[1], from[2], from[3]});
    }
  }
  arrive_in_cluster();
  wait_for_cluster();  // all is there
#pragma unroll
  for (int p = 0; p < Form::kGroupPatches; ++p) {
    const int patch = Form::kGroupPatches * own.group + p;
    if (patch / kWritten != own.rank) continue;
#pragma unroll
    for (int i = 0; i < Form::kSplit - 1; ++i) {
      const uint32_t there = address_in_block(place(patch), i < own.rank ? i : i + 1);
#pragma unroll
      for (int four = 0; four < kFours; ++four) {
        const float4 more = load_from_block(there + four * kFourBytes);
        sums[p][4 * four] += more.x;
        sums[p][4 * four + 1] += more.y;
        sums[p][4 * four + 2] += more.z;
        sums[p][4 * four + 3] += more.w;
      }
    }
  }
  arrive_in_cluster();
}

}  // namespace ddpm::cuda::warpgroup
