#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/conv2d_tiles_kernels.h"
#include "ddpm/kernels/cuda/early_launch.cuh"

namespace ddpm::cuda {
namespace {

using bf16 = __nv_bfloat16;

constexpr int kTileOut = 128, kTileIn = 32;
constexpr int kPart = 8;  // channels of 16 bytes
constexpr int kParts = kTileIn / kPart;
constexpr int kUnits = kTileOut * kParts;  // of 16 bytes, of a tap of a tile
constexpr int kPackThreads = 256;

/// Convolutions read their weights before they wait for the kernels before them. A block lets them
/// begin as soon as one of its threads does, so that all have to have written.
__device__ void let_next_kernel_read() {
  __threadfence();
  __syncthreads();
  let_next_kernel_begin();
}

/// Packs one tap of a tile.
///
/// @param block of conv2d_tiles_blocks().
__device__ void pack_tap(const TilesShape& shape, int block, const bf16* weight, uint4* tiles) {
  const int tap = block % shape.taps;
  const int tile = block / shape.taps;
  const int first_in = tile % (shape.in_channels / kTileIn) * kTileIn;
  const int first_out = tile / (shape.in_channels / kTileIn) * kTileOut;
#pragma unroll
  for (int i = threadIdx.x; i < kUnits; i += kPackThreads) {
    const int part = i % kParts, out = i / kParts;
    const int64_t row = static_cast<int64_t>(first_out + out) * shape.taps + tap;
    tiles[static_cast<int64_t>(block) * kUnits + part * kTileOut + out] =
        *reinterpret_cast<const uint4*>(weight + row * shape.in_channels + first_in + part * kPart);
  }
}

/// The same, turned.
__device__ void turn_tap(const TilesShape& shape, int block, const bf16* weight, uint4* tiles) {
  __shared__ __align__(16) bf16 rows[kTileIn][kTileOut + kPart];
  const int tap = block % shape.taps;
  const int tile = block / shape.taps;
  const int first_out = tile % (shape.out_channels / kTileIn) * kTileIn;
  const int first_in = tile / (shape.out_channels / kTileIn) * kTileOut;
  constexpr int kRowUnits = kTileOut / kPart;
#pragma unroll
  for (int i = threadIdx.x; i < kUnits; i += kPackThreads) {
    const int out = i / kRowUnits, in = i % kRowUnits * kPart;
    const int64_t row = static_cast<int64_t>(first_out + out) * shape.taps + shape.taps - 1 - tap;
    *reinterpret_cast<uint4*>(&rows[out][in]) =
        *reinterpret_cast<const uint4*>(weight + row * shape.in_channels + first_in + in);
  }
  __syncthreads();
#pragma unroll
  for (int i = threadIdx.x; i < kUnits; i += kPackThreads) {
    const int in = i % kTileOut, part = i / kTileOut;
    __align__(16) bf16 unit[kPart];
#pragma unroll
    for (int k = 0; k < kPart; ++k) unit[k] = rows[part * kPart + k][in];
    tiles[static_cast<int64_t>(block) * kUnits + i] = *reinterpret_cast<const uint4*>(unit);
  }
}

__global__ void __launch_bounds__(kPackThreads)
    pack_kernel(TilesShape shape, const bf16* weight, uint4* tiles) {
  wait_for_previous_kernel();
  pack_tap(shape, static_cast<int>(blockIdx.x), weight, tiles);
  let_next_kernel_read();
}

__global__ void __launch_bounds__(kPackThreads)
    turn_kernel(TilesShape shape, const bf16* weight, uint4* tiles) {
  wait_for_previous_kernel();
  turn_tap(shape, static_cast<int>(blockIdx.x), weight, tiles);
  let_next_kernel_read();
}

/// Neither begins early nor lets the next kernel do so: convolutions that come after several others
/// read these tiles before they wait, and the others may all have begun early.
__global__ void __launch_bounds__(kPackThreads) pack_all_kernel(TilesTable table) {
  const TilesEntry entry = table.entries[table.entry_of_block[blockIdx.x]];
  const int block = static_cast<int>(blockIdx.x) - entry.first_block;
  const auto* weight = static_cast<const bf16*>(entry.weight);
  auto* tiles = static_cast<uint4*>(entry.tiles);
  if (entry.shape.turned) {
    turn_tap(entry.shape, block, weight, tiles);
  } else {
    pack_tap(entry.shape, block, weight, tiles);
  }
  __threadfence();
}

}  // namespace

int conv2d_tiles_blocks(const TilesShape& shape) {
  const int out = shape.turned ? shape.in_channels : shape.out_channels;
  const int in = shape.turned ? shape.out_channels : shape.in_channels;
  return out / kTileOut * (in / kTileIn) * shape.taps;
}

cudaError_t pack_conv2d_tiles(const TilesShape& shape, const void* weight, void* tiles,
                              cudaStream_t stream) {
  return launch_early({.blocks = dim3(static_cast<unsigned>(conv2d_tiles_blocks(shape))),
                       .threads = dim3(kPackThreads),
                       .shared_bytes = 0,
                       .stream = stream},
                      shape.turned ? turn_kernel : pack_kernel, shape,
                      static_cast<const bf16*>(weight), static_cast<uint4*>(tiles));
}

cudaError_t pack_all_conv2d_tiles(const TilesTable& table, cudaStream_t stream) {
  if (table.blocks == 0) return cudaSuccess;
  pack_all_kernel<<<static_cast<unsigned>(table.blocks), kPackThreads, 0, stream>>>(table);
  return cudaGetLastError();
}

}  // namespace ddpm::cuda
