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

/// Convolutions read their weights before they wait for the kernels before them.
__device__ void let_next_kernel_read() {
  __threadfence();
  let_next_kernel_begin();
}

/// A block for a tap of a tile.
__global__ void __launch_bounds__(kPackThreads)
    pack_kernel(TilesShape shape, const bf16* weight, uint4* tiles) {
  wait_for_previous_kernel();
  const int tap = static_cast<int>(blockIdx.x) % shape.taps;
  const int tile = static_cast<int>(blockIdx.x) / shape.taps;
  const int first_in = tile % (shape.in_channels / kTileIn) * kTileIn;
  const int first_out = tile / (shape.in_channels / kTileIn) * kTileOut;
#pragma unroll
  for (int i = threadIdx.x; i < kUnits; i += kPackThreads) {
    const int part = i % kParts, out = i / kParts;
    const int64_t row = static_cast<int64_t>(first_out + out) * shape.taps + tap;
    tiles[static_cast<int64_t>(blockIdx.x) * kUnits + part * kTileOut + out] =
        *reinterpret_cast<const uint4*>(weight + row * shape.in_channels + first_in + part * kPart);
  }
  let_next_kernel_read();
}

/// The same, turned.
__global__ void __launch_bounds__(kPackThreads)
    turn_kernel(TilesShape shape, const bf16* weight, uint4* tiles) {
  __shared__ __align__(16) bf16 rows[kTileIn][kTileOut + kPart];
  wait_for_previous_kernel();
  const int tap = static_cast<int>(blockIdx.x) % shape.taps;
  const int tile = static_cast<int>(blockIdx.x) / shape.taps;
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
    tiles[static_cast<int64_t>(blockIdx.x) * kUnits + i] = *reinterpret_cast<const uint4*>(unit);
  }
  let_next_kernel_read();
}

}  // namespace

cudaError_t pack_conv2d_tiles(const TilesShape& shape, const void* weight, void* tiles,
                              cudaStream_t stream) {
  const int out = shape.turned ? shape.in_channels : shape.out_channels;
  const int in = shape.turned ? shape.out_channels : shape.in_channels;
  const int blocks = out / kTileOut * (in / kTileIn) * shape.taps;
  return launch_early({.blocks = dim3(static_cast<unsigned>(blocks)),
                       .threads = dim3(kPackThreads),
                       .shared_bytes = 0,
                       .stream = stream},
                      shape.turned ? turn_kernel : pack_kernel, shape,
                      static_cast<const bf16*>(weight), static_cast<uint4*>(tiles));
}

}  // namespace ddpm::cuda
