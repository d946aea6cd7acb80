#include <algorithm>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/conv2d_few_pixels_kernels.h"
#include "ddpm/kernels/cuda/conv2d_sums.cuh"
#include "ddpm/kernels/cuda/conv2d_tile.cuh"
#include "ddpm/kernels/cuda/conv2d_walk.cuh"
#include "ddpm/kernels/cuda/early_launch.cuh"

// A cluster takes a tile of pixels and 32 channels that come out; its blocks take parts of the
// channels that go in, and send their sums to the block that adds them up: each does so for a part
// of the pixels. Weights are copied while the kernel before still runs.
namespace ddpm::cuda {
namespace {

using namespace conv2d_tile;

constexpr int kMostBlocks = 132;  // an H100's multiprocessors
// Clusters stand within groups of 14 to 18 multiprocessors, so that not all multiprocessors get
// one. Blocks that are given room are spread over as many as there are.
constexpr int kOneEachBlocks = 96;
constexpr int kOneEachBytes = 116 * 1024;
constexpr int kTwoEachBytes = 80 * 1024;
constexpr int kMostTwoEachBytes = 112 * 1024;
constexpr int kMostBytes = 226 * 1024;

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

__global__ void __launch_bounds__(kThreads, 1)
    conv_kernel(ConvMaps maps, ConvPlan plan, const T* x, const T* weight, ConvShortcut shortcut,
                MapAddends addends, T* y) {
  extern __shared__ __align__(128) unsigned char bytes[];
  __shared__ ArrivalBarrier arrivals;
  const int part = static_cast<int>(blockIdx.x);
  const Shares shares(plan);
  if (threadIdx.x == 0) {
    arrivals.expect(static_cast<uint32_t>(plan.parts * shares.count(part) * kRowBytes));
  }
  __syncwarp();
  arrive_at_start();
  let_next_kernel_begin();
  float* const slots = reinterpret_cast<float*>(bytes);
  T* const weights = reinterpret_cast<T*>(slots + plan.parts * shares.each * kTileChannels);
  T* const pixels = weights + plan.weight_rows(maps) * plan.stride();
  T* const shortcut_weights = pixels + (plan.in_pixels(maps) + 1) * plan.stride();
  T* const shortcut_pixels = shortcut_weights + kTileChannels * (plan.shortcut_channels + 8);
  int* const sources =
      reinterpret_cast<int*>(shortcut_pixels + plan.pixels * (plan.shortcut_channels + 8));
  const int first_in_channel = part * plan.channels;
  const int64_t first_channel = static_cast<int64_t>(blockIdx.z) * kTileChannels;
  const RowCopier copier(plan.channels);
  copy_weights(
      maps, plan, copier,
      weight + first_channel * maps.kernel * maps.kernel * maps.channels + first_in_channel,
      weights);
  const ShortcutCopier shortcut_copier(plan, part);
  if (plan.shortcut_channels > 0) {
    shortcut_copier.copy_weights(shortcut, static_cast<int>(first_channel), shortcut_weights);
  }
  const TilePlace place(maps, plan);
  find_pixels(maps, plan, place, sources);
  const int warp = static_cast<int>(threadIdx.x) / 32;
  const int warp_pixel = warp / 2 * kWarpPixels;
  const int warp_channel = warp % 2 * kWarpChannels;
  Walk walk(maps, plan, place, warp_pixel, warp_channel, weights, pixels);
  OwnPairs own(maps, plan, place, shares, part);
  const Destinations destinations(shares, part, warp_pixel, warp_channel,
                                  static_cast<uint32_t>(__cvta_generic_to_shared(slots)),
                                  arrivals.address());
  wait_for_start();
  __syncthreads();
  wait_for_previous_kernel();
  copy_pixels(maps, plan, copier, sources, x + first_in_channel, pixels);
  if (plan.shortcut_channels > 0) {
    shortcut_copier.copy_pixels(shortcut, place.first_pixel, plan.pixels, place.pixels,
                                shortcut_pixels);
  }
  commit_copies();
  own.load(addends);
  wait_for_copies<0>();
  __syncthreads();
  if (warp_pixel < plan.pixels) {
    WarpSums sums;
    sums.add(walk, maps.kernel * maps.kernel * (plan.channels / kStepChannels));
    if (plan.shortcut_channels > 0) {
      ShortcutWalk side(plan, warp_pixel, warp_channel, shortcut_weights, shortcut_pixels);
      sums.add(side, plan.shortcut_channels / kStepChannels);
    }
    destinations.send(sums);
  }
  arrivals.wait();
  own.write(shares, plan.parts, slots, y);
}

#else
__global__ void conv_kernel(ConvMaps, ConvPlan, const T*, const T*, ConvShortcut, MapAddends, T*) {
  __trap();  // no clusters here: conv2d_has_few_pixels() says so
}
#endif

ConvPlan plan_of(const ConvMaps& maps, const ConvShortcut& shortcut) {
  ConvPlan plan;
  const int shortcut_channels = shortcut.channels + shortcut.rest_channels;
  const int image_pixels = maps.out_height * maps.out_width;
  plan.images = std::clamp(kMostPixels / image_pixels, 1, maps.images);
  plan.lines = std::min(maps.out_height, kMostPixels / maps.out_width);
  plan.pixels = plan.images * plan.lines * maps.out_width;
  plan.in_lines = (plan.lines - 1) * maps.stride + maps.kernel;
  plan.tiles = (maps.images + plan.images - 1) / plan.images *
               ((maps.out_height + plan.lines - 1) / plan.lines);
  const auto fits = [&](int parts) {
    return int64_t{parts} * plan.tiles * (maps.out_channels / kTileChannels) <= kMostBlocks &&
           maps.channels % (parts * kStepChannels) == 0 &&
           shortcut_channels % (parts * kStepChannels) == 0;
  };
  while (plan.parts < kMostParts && fits(2 * plan.parts)) plan.parts *= 2;
  plan.channels = maps.channels / plan.parts;
  plan.shortcut_channels = shortcut_channels / plan.parts;
  return plan;
}

int blocks_of(const ConvMaps& maps, const ConvPlan& plan) {
  return plan.parts * plan.tiles * (maps.out_channels / kTileChannels);
}

/// Shared memory of a block; more than kMostBytes, or than kMostTwoEachBytes where two blocks have
/// to share a multiprocessor: too much.
int64_t shared_bytes(const ConvMaps& maps, const ConvPlan& plan) {
  const int64_t rows = int64_t{plan.weight_rows(maps)} + plan.in_pixels(maps) + 1;
  const int64_t shortcut_rows = kTileChannels + plan.pixels;
  const int64_t bytes =
      rows * plan.stride() * static_cast<int64_t>(sizeof(T)) +
      shortcut_rows * (plan.shortcut_channels + 8) * static_cast<int64_t>(sizeof(T)) +
      (plan.in_pixels(maps) + 1) * static_cast<int64_t>(sizeof(int)) +
      int64_t{plan.parts} * plan.pixels_each() * kRowBytes;
  const bool one_each = blocks_of(maps, plan) <= kOneEachBlocks;
  return std::max<int64_t>(bytes, one_each ? kOneEachBytes : kTwoEachBytes);
}

}  // namespace

bool conv2d_has_few_pixels(const ConvMaps& maps, const ConvShortcut& shortcut) {
  if (maps.channels < kStepChannels || maps.channels % kStepChannels != 0 ||
      maps.out_channels < kTileChannels || maps.out_channels % kTileChannels != 0 ||
      maps.kernel < 2 || maps.kernel * maps.kernel > kMostTaps || maps.out_height < 1 ||
      maps.out_width < 1 || maps.out_width > kMostPixels || maps.images < 1 ||
      shortcut.channels % 8 != 0 ||
      (shortcut.channels + shortcut.rest_channels) % kStepChannels != 0) {
    return false;
  }
  const ConvPlan plan = plan_of(maps, shortcut);
  const bool one_each = blocks_of(maps, plan) <= kOneEachBlocks;
  return plan.parts > 1 &&
         shared_bytes(maps, plan) <= (one_each ? kMostBytes : kMostTwoEachBytes) &&
         device_has_clusters();
}

cudaError_t conv2d_few_pixels(const ConvMaps& maps, const void* x, const void* weight,
                              const ConvShortcut& shortcut, const MapAddends& addends, void* y,
                              cudaStream_t stream) {
  const cudaError_t sized =
      cudaFuncSetAttribute(conv_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMostBytes);
  if (sized != cudaSuccess) return sized;
  const ConvPlan plan = plan_of(maps, shortcut);
  const EarlyLaunch launch{
      .blocks = dim3(static_cast<unsigned>(plan.parts), static_cast<unsigned>(plan.tiles),
                     static_cast<unsigned>(maps.out_channels / kTileChannels)),
      .threads = dim3(kThreads),
      .shared_bytes = static_cast<int>(shared_bytes(maps, plan)),
      .stream = stream,
      .cluster_blocks = static_cast<unsigned>(plan.parts)};
  return launch_early(launch, conv_kernel, maps, plan, static_cast<const T*>(x),
                      static_cast<const T*>(weight), shortcut, addends, static_cast<T*>(y));
}

}  // namespace ddpm::cuda
