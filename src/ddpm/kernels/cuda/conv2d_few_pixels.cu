#include <algorithm>
#include <cooperative_groups.h>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/conv2d_few_pixels_kernels.h"
#include "ddpm/kernels/cuda/conv2d_tile.cuh"
#include "ddpm/kernels/cuda/early_launch.cuh"

// A convolution is a product of [pixels, taps * channels] and [out_channels, taps * channels]. A
// cluster takes a tile of 64 pixels and 64 channels; its blocks take parts of the sum, in chunks of
// 64 channels of one tap. A block has room for all its chunks, so that all copies are under way at
// once, those of weights while the kernel before still runs. The blocks keep their sums in shared
// memory, where each then adds up a part of the rows of all.
namespace ddpm::cuda {
namespace {

using namespace conv2d_tile;

constexpr int kChunkBytes = kChunkElements * static_cast<int>(sizeof(T));
constexpr int kMostBlocks = 132;  // an H100's multiprocessors
constexpr int kMostParts = 8;     // blocks of a cluster
constexpr int kMostChunks = 14;   // of a block
constexpr int kFewestChunks = 3;  // that a block has room for, for its sums
constexpr int kWaits = 4;         // for copies, of a block
static_assert(kTile * kSumStride * static_cast<int>(sizeof(float)) <= 2 * kChunkBytes);

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

namespace cg = cooperative_groups;

/// A pair of entries of a table, or zeros.
__device__ __forceinline__ float2 pair_or_zero(const void* table, int64_t at) {
  if (table == nullptr) return make_float2(0, 0);
  return __bfloat1622float2(
      *reinterpret_cast<const __nv_bfloat162*>(static_cast<const T*>(table) + at));
}

/// The rows of a cluster's tiles that this block adds up: two channels of each a thread.
struct OwnRows {
  static constexpr int kAtOnce = 2 * kThreads / kTile;
  static constexpr int kMost = kTile / 2 / kAtOnce;  // of a thread, with two parts

  int parts, count;  // of rows, whole ones of the block
  int first_row, column;
  int first_pixel, pixels;
  int64_t channels, channel;

  __device__ OwnRows(const ConvMaps& maps, const cg::cluster_group& cluster, int tile_pixel,
                     int tile_channel)
      : parts(static_cast<int>(cluster.num_blocks())),
        count(kTile / parts),
        first_row(static_cast<int>(cluster.block_rank()) * count +
                  static_cast<int>(threadIdx.x) / (kTile / 2)),
        column(static_cast<int>(threadIdx.x) % (kTile / 2) * 2),
        first_pixel(tile_pixel + first_row),
        pixels(out_pixels(maps)),
        channels(maps.out_channels),
        channel(tile_channel + column) {}

  __device__ bool has(int i) const {
    return i * kAtOnce < count && first_pixel + i * kAtOnce < pixels;
  }
  __device__ int64_t at(int i) const {  // of y
    return (first_pixel + i * kAtOnce) * channels + channel;
  }
};

/// Adds up the rows of all blocks' tiles, in the order of the parts.
__device__ __forceinline__ float2 sum_of_parts(const cg::cluster_group& cluster, const OwnRows& own,
                                               int i, float* tile) {
  float2 values[kMostParts];
  float* const mine = tile + (own.first_row + i * OwnRows::kAtOnce) * kSumStride + own.column;
#pragma unroll
  for (int part = 0; part < kMostParts; ++part) {  // all are read before one is needed
    if (part >= own.parts) break;
    values[part] = *reinterpret_cast<const float2*>(cluster.map_shared_rank(mine, part));
  }
  float2 sum = values[0];
#pragma unroll
  for (int part = 1; part < kMostParts; ++part) {
    if (part >= own.parts) break;
    sum.x += values[part].x;
    sum.y += values[part].y;
  }
  return sum;
}

/// Adds up this block's rows of the cluster's tiles, with the addends.
__device__ void write_rows(const ConvMaps& maps, const MapAddends& addends, float* tile,
                           int first_pixel, int first_channel, T* y) {
  const cg::cluster_group cluster = cg::this_cluster();
  cluster.barrier_arrive();
  const OwnRows own(maps, cluster, first_pixel, first_channel);
  const float2 bias = pair_or_zero(addends.bias, own.channel);
  const float2 residual_bias = pair_or_zero(addends.residual_bias, own.channel);
  float2 sums[OwnRows::kMost];
#pragma unroll
  for (int i = 0; i < OwnRows::kMost; ++i) {
    sums[i] = pair_or_zero(own.has(i) ? addends.residual : nullptr, own.at(i));
    sums[i].x += bias.x + residual_bias.x;
    sums[i].y += bias.y + residual_bias.y;
  }
  cluster.barrier_wait();
#pragma unroll
  for (int i = 0; i < OwnRows::kMost; ++i) {
    if (!own.has(i)) break;
    const float2 sum = sum_of_parts(cluster, own, i, tile);
    sums[i].x += sum.x;
    sums[i].y += sum.y;
  }
  cluster.barrier_arrive();
#pragma unroll
  for (int i = 0; i < OwnRows::kMost; ++i) {
    if (!own.has(i)) break;
    *reinterpret_cast<__nv_bfloat162*>(y + own.at(i)) = __float22bfloat162_rn(sums[i]);
  }
  cluster.barrier_wait();  // nobody leaves while its sums are read
}

/// Waits for quarter `quarter` of the copies, and for those before it.
template <int kPending>
__device__ __forceinline__ void add_quarter(int quarter, int chunks, const T* memory,
                                            WarpSums& sums) {
  wait_for_copies<kPending>();
  __syncthreads();
  const int end = (quarter + 1) * chunks / kWaits;
  for (int i = quarter * chunks / kWaits; i < end; ++i) sums.add(memory + i * kChunkElements);
}

__global__ void __launch_bounds__(kThreads, 1)
    conv_kernel(ConvMaps maps, const T* x, const T* weight, MapAddends addends, T* y) {
  extern __shared__ __align__(128) unsigned char bytes[];
  T* const memory = reinterpret_cast<T*>(bytes);
  const int first_pixel = static_cast<int>(blockIdx.y) * kTile;
  const int first_channel = static_cast<int>(blockIdx.z) * kTile;
  const int parts = static_cast<int>(gridDim.x);  // of a cluster
  const int part = static_cast<int>(blockIdx.x);
  const int all_chunks = maps.kernel * maps.kernel * (maps.channels / kTile);
  const int begin = part * all_chunks / parts;
  const int chunks = (part + 1) * all_chunks / parts - begin;

  let_next_kernel_begin();
  const WeightCopier weights(maps, weight, first_channel);
  for (int i = 0; i < chunks; ++i) {
    weights.copy(begin + i, memory + i * kChunkElements + kTileElements);
  }
  PixelCopier pixels(maps, x, first_pixel, begin);
  wait_for_previous_kernel();
#pragma unroll
  for (int quarter = 0; quarter < kWaits; ++quarter) {
    const int end = (quarter + 1) * chunks / kWaits;
    for (int i = quarter * chunks / kWaits; i < end; ++i) {
      pixels.copy_next(memory + i * kChunkElements);
    }
    commit_copies();
  }
  WarpSums sums;
  add_quarter<3>(0, chunks, memory, sums);
  add_quarter<2>(1, chunks, memory, sums);
  add_quarter<1>(2, chunks, memory, sums);
  add_quarter<0>(3, chunks, memory, sums);
  __syncthreads();  // the sums stand where the chunks were
  float* const scratch = reinterpret_cast<float*>(bytes);
  float* const tile = scratch + kTileElements;
  sums.store(scratch, tile);
  write_rows(maps, addends, tile, first_pixel, first_channel, y);
}

#else
__global__ void conv_kernel(ConvMaps, const T*, const T*, MapAddends, T*) {
  __trap();  // no clusters here: conv2d_has_few_pixels() says so
}
#endif

int64_t tiles_of(const ConvMaps& maps) {
  const int64_t pixels = static_cast<int64_t>(maps.images) * maps.out_height * maps.out_width;
  return (pixels + kTile - 1) / kTile * (maps.out_channels / kTile);
}

/// Blocks that share a tile: as many as leave each a multiprocessor of its own.
int parts_of(const ConvMaps& maps) {
  int parts = 1;
  while (parts < kMostParts && 2 * parts * tiles_of(maps) <= kMostBlocks) parts *= 2;
  return parts;
}

/// The most chunks of a block.
int chunks_of(const ConvMaps& maps) {
  const int parts = parts_of(maps);
  return (maps.kernel * maps.kernel * (maps.channels / kTile) + parts - 1) / parts;
}

}  // namespace

bool conv2d_has_few_pixels(const ConvMaps& maps) {
  if (maps.channels < kTile || maps.channels % kTile != 0 || maps.out_channels < kTile ||
      maps.out_channels % kTile != 0 || maps.kernel < 2 || maps.out_height < 1 ||
      maps.out_width < 1 || maps.images < 1) {
    return false;
  }
  return parts_of(maps) > 1 && chunks_of(maps) <= kMostChunks && device_has_clusters();
}

cudaError_t conv2d_few_pixels(const ConvMaps& maps, const void* x, const void* weight,
                              const MapAddends& addends, void* y, cudaStream_t stream) {
  const cudaError_t sized = cudaFuncSetAttribute(
      conv_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMostChunks * kChunkBytes);
  if (sized != cudaSuccess) return sized;
  const auto parts = static_cast<unsigned>(parts_of(maps));
  const EarlyLaunch launch{
      .blocks = dim3(parts, static_cast<unsigned>((out_pixels(maps) + kTile - 1) / kTile),
                     static_cast<unsigned>(maps.out_channels / kTile)),
      .threads = dim3(kThreads),
      .shared_bytes = std::max(chunks_of(maps), kFewestChunks) * kChunkBytes,
      .stream = stream,
      .cluster_blocks = parts};
  return launch_early(launch, conv_kernel, maps, static_cast<const T*>(x),
                      static_cast<const T*>(weight), addends, static_cast<T*>(y));
}

}  // namespace ddpm::cuda
