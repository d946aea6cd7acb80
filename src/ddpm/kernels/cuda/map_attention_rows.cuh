#pragma once

#include <cstdint>

#include "ddpm/kernels/cuda/map_attention.cuh"

// The way of rows between registers, where products have them, and the maps.
namespace ddpm::cuda::map_attention {

/// How a warp reads and writes kColumns of its rows of a map: 16 bytes a lane, whole sectors.
struct RowVectors {
  static constexpr int kVectors = kColumns / kPart, kRowsAtOnce = kWarpThreads / kVectors;
  static constexpr int kCount = kWarpRows / kRowsAtOnce;

  int vector, row;

  __device__ explicit RowVectors(int lane) : vector(lane % kVectors), row(lane / kVectors) {}
  /// Of vector i of a block of columns in the map, from the warp's first row on.
  __device__ int in_map(int block, int i) const {
    return (row + i * kRowsAtOnce) * kMapChannels + block * kColumns + vector * kPart;
  }
  __device__ uint4& in(WarpRows& rows, int i) const {
    return *reinterpret_cast<uint4*>(rows[row + i * kRowsAtOnce] + vector * 16);
  }
};

/// Of a thread's rows what stands in a block of columns: f(pair, where it stands in shared memory).
template <typename F>
__device__ __forceinline__ void each_pair(Rows& rows, WarpRows& memory, int block, int lane,
                                          const F& f) {
  constexpr int kSteps = kColumns / kStepK;
#pragma unroll
  for (int k = 0; k < kSteps; ++k) {
#pragma unroll
    for (int i = 0; i < 4; ++i) {
      const int column = k * kStepK + i / 2 * 8 + 2 * (lane % 4);
      f(rows[block * kSteps + k][i],
        *reinterpret_cast<uint32_t*>(memory[lane / 4 + i % 2 * 8] + column * 2));
    }
  }
}

/// Writes a warp's rows to a map of as many columns, from `to` on; who reads them comes much later,
/// so that they leave the cache first.
__device__ __forceinline__ void store_rows(Rows& rows, WarpRows& memory, bf16* to, int lane) {
  const RowVectors vectors(lane);
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    __syncwarp();
    each_pair(rows, memory, block, lane, [](uint32_t pair, uint32_t& at) { at = pair; });
    __syncwarp();
#pragma unroll
    for (int i = 0; i < RowVectors::kCount; ++i) {
      __stcs(reinterpret_cast<uint4*>(to + vectors.in_map(block, i)), vectors.in(memory, i));
    }
  }
}

/// Reads them.
__device__ __forceinline__ void load_rows(Rows& rows, WarpRows& memory, const bf16* from,
                                          int lane) {
  const RowVectors vectors(lane);
#pragma unroll
  for (int block = 0; block < kBlocks; ++block) {
    uint4 values[RowVectors::kCount];
#pragma unroll
    for (int i = 0; i < RowVectors::kCount; ++i) {
      values[i] = *reinterpret_cast<const uint4*>(from + vectors.in_map(block, i));
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < RowVectors::kCount; ++i) vectors.in(memory, i) = values[i];
    __syncwarp();
    each_pair(rows, memory, block, lane, [](uint32_t& pair, uint32_t at) { pair = at; });
  }
}

}  // namespace ddpm::cuda::map_attention
