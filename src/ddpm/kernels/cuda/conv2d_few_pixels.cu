#include <cooperative_groups.h>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/conv2d_few_pixels_kernels.h"
#include "ddpm/kernels/cuda/conv2d_tile.cuh"
#include "ddpm/kernels/cuda/device_clusters.h"

// A convolution is a product of [pixels, taps * channels] and [out_channels, taps * channels]. A
// cluster takes a tile of 64 pixels and 64 channels; its blocks take parts of the sum, in chunks of
// 64 channels of one tap, and keep their sums in shared memory, where each block then adds up a
// part of the rows of all.
namespace ddpm::cuda {
namespace {

using namespace conv2d_tile;

constexpr int kStages = 6;
constexpr int kSharedBytes = kStages * kStageElements * static_cast<int>(sizeof(T));
constexpr int kMostBlocks = 132;  // an H100's multiprocessors
constexpr int kMostParts = 8;     // blocks of a cluster
constexpr int kMostChunks = 9;    // of a block; for more of them cuDNN's kernels are faster
static_assert(kTile * kSumStride * static_cast<int>(sizeof(float)) <= kSharedBytes);

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// A pair of entries of a table, or zeros.
__device__ __forceinline__ float2 pair_or_zero(const void* table, int64_t at) {
  if (table == nullptr) return make_float2(0, 0);
  return __bfloat1622float2(
      *reinterpret_cast<const __nv_bfloat162*>(static_cast<const T*>(table) + at));
}

/// Adds up this block's rows of the cluster's tiles, with the addends.
__device__ void write_rows(const ConvMaps& maps, const MapAddends& addends, float* tile,
                           int first_pixel, int first_channel, T* y) {
  const cooperative_groups::cluster_group cluster = cooperative_groups::this_cluster();
  const int parts = static_cast<int>(cluster.num_blocks());
  const int rows = kTile / parts;
  const int first_row = static_cast<int>(cluster.block_rank()) * rows;
  const int column = static_cast<int>(threadIdx.x) % (kTile / 2) * 2;
  const int channel = first_channel + column;
  const float2 bias = pair_or_zero(addends.bias, channel);
  const float2 residual_bias = pair_or_zero(addends.residual_bias, channel);
  for (int i = static_cast<int>(threadIdx.x) / (kTile / 2); i < rows; i += 2 * kThreads / kTile) {
    const int row = first_row + i;
    const int pixel = first_pixel + row;
    if (pixel >= out_pixels(maps)) break;
    const int64_t at = static_cast<int64_t>(pixel) * maps.out_channels + channel;
    const float2 residual = pair_or_zero(addends.residual, at);
    float2 sum = make_float2(0, 0);
    for (int part = 0; part < parts; ++part) {
      const float2 more = *reinterpret_cast<const float2*>(
          cluster.map_shared_rank(tile + row * kSumStride + column, part));
      sum.x += more.x;
      sum.y += more.y;
    }
    sum.x += bias.x + residual_bias.x + residual.x;
    sum.y += bias.y + residual_bias.y + residual.y;
    *reinterpret_cast<__nv_bfloat162*>(y + at) = __float22bfloat162_rn(sum);
  }
}

__global__ void __launch_bounds__(kThreads)
    conv_kernel(ConvMaps maps, const T* x, const T* weight, MapAddends addends, T* y) {
  extern __shared__ __align__(128) unsigned char memory[];
  const cooperative_groups::cluster_group cluster = cooperative_groups::this_cluster();
  T* const stages = reinterpret_cast<T*>(memory);
  const int first_pixel = static_cast<int>(blockIdx.y) * kTile;
  const int first_channel = static_cast<int>(blockIdx.z) * kTile;
  const int parts = static_cast<int>(cluster.num_blocks());
  const int part = static_cast<int>(cluster.block_rank());
  const int chunks = maps.kernel * maps.kernel * (maps.channels / kTile);
  const int begin = part * chunks / parts;
  const int end = (part + 1) * chunks / parts;
  const Copier copier(maps, x, weight, first_pixel, first_channel);
  const auto copy_chunk = [&](int chunk) {
    if (chunk < end) copier.copy(chunk, stages + (chunk - begin) % kStages * kStageElements);
    commit_copies();
  };
  for (int i = 0; i < kStages - 1; ++i) copy_chunk(begin + i);
  WarpSums sums;
  for (int chunk = begin; chunk < end; ++chunk) {
    wait_for_copies<kStages - 2>();
    __syncthreads();
    copy_chunk(chunk + kStages - 1);
    sums.add(stages + (chunk - begin) % kStages * kStageElements);
  }
  wait_for_copies<0>();
  __syncthreads();  // the sums stand where the stages were
  float* const tile = reinterpret_cast<float*>(memory);
  sums.store(tile);
  cluster.sync();
  write_rows(maps, addends, tile, first_pixel, first_channel, y);
  cluster.sync();  // nobody leaves while its sums are read
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

}  // namespace

bool conv2d_has_few_pixels(const ConvMaps& maps) {
  if (maps.channels % kTile != 0 || maps.out_channels % kTile != 0 || maps.kernel < 2 ||
      maps.out_height < 1 || maps.out_width < 1 || maps.images < 1) {
    return false;
  }
  const int chunks = maps.kernel * maps.kernel * (maps.channels / kTile);
  const int parts = parts_of(maps);
  return parts > 1 && chunks > 0 && chunks <= kMostChunks * parts && device_has_clusters();
}

cudaError_t conv2d_few_pixels(const ConvMaps& maps, const void* x, const void* weight,
                              const MapAddends& addends, void* y, cudaStream_t stream) {
  const cudaError_t sized =
      cudaFuncSetAttribute(conv_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kSharedBytes);
  if (sized != cudaSuccess) return sized;
  const auto parts = static_cast<unsigned>(parts_of(maps));
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim.x = parts;
  cluster.val.clusterDim.y = 1;
  cluster.val.clusterDim.z = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = dim3(parts, static_cast<unsigned>((out_pixels(maps) + kTile - 1) / kTile),
                        static_cast<unsigned>(maps.out_channels / kTile));
  config.blockDim = dim3(kThreads);
  config.dynamicSmemBytes = kSharedBytes;
  config.stream = stream;
  config.attrs = &cluster;
  config.numAttrs = 1;
  return cudaLaunchKernelEx(&config, conv_kernel, maps, static_cast<const T*>(x),
                            static_cast<const T*>(weight), addends, static_cast<T*>(y));
}

}  // namespace ddpm::cuda
