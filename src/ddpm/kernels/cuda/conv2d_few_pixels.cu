#include <algorithm>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/conv2d_few_pixels_kernels.h"
#include "ddpm/kernels/cuda/conv2d_memory.cuh"
#include "ddpm/kernels/cuda/conv2d_norm.cuh"
#include "ddpm/kernels/cuda/conv2d_part_sums.cuh"
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
constexpr int kEnoughBlocks = 64, kUsualParts = 4;
constexpr int kFewBlocks = 32;  // so many in clusters of four find room beside the last kernel's
// Clusters stand within groups of 14 to 18 multiprocessors, so that not all multiprocessors get
// one. Blocks that are given room are spread over as many as there are.
constexpr int kOneEachBlocks = 96;
constexpr int kOneEachBytes = 116 * 1024;
constexpr int kTwoEachBytes = 80 * 1024;
constexpr int kMostTwoEachBytes = 112 * 1024;
constexpr int kMostBytes = 226 * 1024;

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// One kernel for nearly all layers: its code is still at hand from the layer before.
///
/// @tparam kWhole whole tiles of channels come out.
template <bool kWhole>
__global__ void __launch_bounds__(kThreads, 1)
    conv_kernel(ConvMaps maps, ConvPlan plan, ConvTensors tensors) {
  extern __shared__ __align__(128) unsigned char bytes[];
  __shared__ ArrivalBarrier arrivals;
  const int part = static_cast<int>(blockIdx.x);
  const Shares shares(plan);
  if (threadIdx.x == 0) {
    arrivals.expect(static_cast<uint32_t>((plan.parts - 1) * shares.count(part) * kRowBytes));
  }
  __syncwarp();
  arrive_at_start();
  let_next_kernel_begin();
  const BlockMemory memory(maps, plan, bytes);
  const int first_in_channel = part * plan.channels;
  const int64_t first_channel = static_cast<int64_t>(blockIdx.z) * kTileChannels;
  const RowCopier copier(plan.channels);
  copy_weights(maps, plan, copier,
               min(maps.out_channels - static_cast<int>(first_channel), kTileChannels),
               static_cast<const T*>(tensors.weight) +
                   first_channel * maps.kernel * maps.kernel * maps.channels + first_in_channel,
               memory.weights);
  const ShortcutCopier shortcut_copier(plan, part);
  if (plan.shortcut_channels > 0) {
    shortcut_copier.copy_weights(tensors.shortcut, static_cast<int>(first_channel),
                                 memory.shortcut_weights);
  }
  const bool has_norm = tensors.norm.groups > 0;
  const TilePlace place(maps, plan);
  const TileNorm norm(maps, plan, place, tensors.norm, first_in_channel, memory.norm_rows);
  find_pixels(maps, plan, place, memory.sources);
  const ChannelSource source(tensors.x, tensors.x_rest, maps.channels - maps.rest_channels,
                             maps.rest_channels, first_in_channel + copier.vector * 8);
  const WarpShare share(maps, plan);
  Walk walk(maps, plan, place, share.pixel, share.steps.first, memory.weights, memory.pixels);
  OwnQuads<kWhole> own(maps, plan, place, shares, part);
  own.load_biases(tensors);
  const PartSums part_sums(maps, plan, place, part);
  const Destinations destinations(shares, plan, part, shared_address(memory.slots),
                                  arrivals.address());
  if (has_norm) norm.keep_weights();
  wait_for_start();
  __syncthreads();
  const PixelCopier pixel_copier(maps, plan, copier, source, memory.sources, memory.pixels);
  wait_for_previous_kernel();
  const TileNorm::Loads norm_loads = norm.begin();
  pixel_copier.copy();
  commit_copies();
  if (plan.shortcut_channels > 0) {
    shortcut_copier.copy_pixels(tensors.shortcut, place.first_pixel, plan.pixels, place.pixels,
                                memory.shortcut_pixels);
  }
  commit_copies();
  own.load();
  if (has_norm) {
    norm.find(norm_loads);
    __syncthreads();
    wait_for_copies<1>();
    norm.apply(copier, memory.sources, memory.pixels);
  }
  wait_for_copies<0>();
  __syncthreads();
  WarpSums sums;
  if (share.pixel < plan.pixels) {
    sums.add(walk, share.steps.count);
    if (plan.shortcut_channels > 0) {
      ShortcutWalk side(plan, share.pixel, share.shortcut_steps.first, memory.shortcut_weights,
                        memory.shortcut_pixels);
      sums.add(side, share.shortcut_steps.count);
    }
  }
  __syncthreads();  // nobody reads weights and pixels any more
  const WarpRows warp_rows{memory.warp_rows};
  if (share.pixel < plan.pixels) warp_rows.put(sums);
  __syncthreads();
  destinations.send(warp_rows);
  __syncthreads();  // what the block adds itself stands there
  arrivals.wait();
  float2 moments[4] = {};
  own.write(shares, plan.parts, memory.slots, static_cast<T*>(tensors.y), moments);
  if (tensors.sums != nullptr) part_sums.leave(moments, own, memory.sum_rows, tensors.sums);
}

#else
template <bool kWhole>
__global__ void conv_kernel(ConvMaps, ConvPlan, ConvTensors) {
  __trap();  // no clusters here: conv2d_has_few_pixels() says so
}
#endif

/// Sets how many pixels each part adds up: of one image only, where sums of parts can be left.
void share_pixels(const ConvMaps& maps, ConvPlan& plan) {
  const int image_pixels = maps.out_height * maps.out_width;
  plan.pixels_each = (plan.pixels + plan.parts - 1) / plan.parts;
  if (plan.images == 1) {
    plan.sum_parts = plan.tiles_of_image(maps) * plan.parts;
  } else if (plan.pixels_each <= image_pixels) {
    while (image_pixels % plan.pixels_each != 0) ++plan.pixels_each;
    plan.sum_parts = image_pixels / plan.pixels_each;
  }
  if (maps.out_channels % kTileChannels != 0) plan.sum_parts = 0;
}

/// @param most_pixels of a tile.
ConvPlan plan_with(const ConvMaps& maps, const ConvShortcut& shortcut, int most_pixels) {
  ConvPlan plan;
  const int shortcut_channels = shortcut.channels + shortcut.rest_channels;
  const int image_pixels = maps.out_height * maps.out_width;
  plan.images = std::clamp(most_pixels / image_pixels, 1, maps.images);
  plan.lines = std::clamp(most_pixels / maps.out_width, 1, maps.out_height);
  plan.pixels = plan.images * plan.lines * maps.out_width;
  plan.in_lines = (plan.lines - 1) * maps.stride + maps.kernel;
  plan.tiles = (maps.images + plan.images - 1) / plan.images * plan.tiles_of_image(maps);
  const int tiles = plan.tiles * ConvPlan::channel_tiles(maps);
  const auto fits = [&](int parts) {
    return int64_t{parts} * tiles <= (parts > 2 ? kEnoughBlocks : kMostBlocks) &&
           maps.channels % (parts * kStepChannels) == 0 &&
           shortcut_channels % (parts * kStepChannels) == 0;
  };
  // More parts than usual, so that each adds up pixels of one image.
  const bool needs_more = plan.images > 1 && plan.pixels > kUsualParts * image_pixels;
  const int most_parts = maps.kernel == 1 ? 1 : needs_more ? kMostParts : kUsualParts;
  while (plan.parts < most_parts && fits(2 * plan.parts)) plan.parts *= 2;
  plan.channels = maps.channels / plan.parts;
  plan.shortcut_channels = shortcut_channels / plan.parts;
  plan.splits = kWarps;
  while (kWarps / plan.splits * kWarpPixels < plan.pixels) plan.splits /= 2;
  share_pixels(maps, plan);
  return plan;
}

int blocks_of(const ConvMaps& maps, const ConvPlan& plan) {
  return plan.parts * plan.tiles * ConvPlan::channel_tiles(maps);
}

/// Shared memory of a block; more than kMostBytes, or than kMostTwoEachBytes where two blocks may
/// have to share a multiprocessor, is too much: clusters of two find one for each block.
int64_t shared_bytes(const ConvMaps& maps, const ConvPlan& plan) {
  const bool one_each = blocks_of(maps, plan) <= kOneEachBlocks;
  return std::max<int64_t>(block_bytes(maps, plan), one_each ? kOneEachBytes : kTwoEachBytes);
}

/// The tile of most pixels, or of half as many in clusters of two, which find room everywhere.
ConvPlan plan_of(const ConvMaps& maps, const ConvShortcut& shortcut) {
  if (maps.kernel == 1) return plan_with(maps, shortcut, kMostPixels / 2);
  const ConvPlan plan = plan_with(maps, shortcut, kMostPixels);
  if (plan.parts <= 2 || blocks_of(maps, plan) <= kFewBlocks) return plan;
  const ConvPlan halves = plan_with(maps, shortcut, kMostPixels / 2);
  const bool is_better = halves.parts == 2 && blocks_of(maps, halves) <= kEnoughBlocks &&
                         shared_bytes(maps, halves) <= kMostBytes;
  return is_better ? halves : plan;
}

}  // namespace

bool conv2d_has_few_pixels(const ConvMaps& maps, const ConvShortcut& shortcut) {
  if (maps.channels < kStepChannels || maps.channels % kStepChannels != 0 ||
      maps.out_channels < 1 || maps.kernel < 1 || maps.kernel * maps.kernel > kMostTaps ||
      maps.out_height < 1 || maps.out_width < 1 || maps.out_width > kMostPixels ||
      maps.images < 1 || maps.rest_channels % 8 != 0 || shortcut.channels % 8 != 0 ||
      (shortcut.channels + shortcut.rest_channels) % kStepChannels != 0) {
    return false;
  }
  if (maps.out_channels % kTileChannels != 0 &&
      (maps.out_channels > kTileChannels || shortcut.channels > 0)) {
    return false;
  }
  const ConvPlan plan = plan_of(maps, shortcut);
  const bool one_each = blocks_of(maps, plan) <= kOneEachBlocks || plan.parts <= 2;
  const bool is_split = plan.parts > 1 || maps.kernel == 1;
  return is_split && blocks_of(maps, plan) <= kMostBlocks && plan.pixels_each <= kMostPixels / 2 &&
         shared_bytes(maps, plan) <= (one_each ? kMostBytes : kMostTwoEachBytes) &&
         device_has_clusters();
}

int conv2d_few_pixels_parts(const ConvMaps& maps, const ConvShortcut& shortcut) {
  return plan_of(maps, shortcut).sum_parts;
}

cudaError_t conv2d_few_pixels(const ConvMaps& maps, const ConvTensors& tensors,
                              cudaStream_t stream) {
  const ConvPlan plan = plan_of(maps, tensors.shortcut);
  auto* const kernel =
      maps.out_channels % kTileChannels == 0 ? conv_kernel<true> : conv_kernel<false>;
  const cudaError_t sized =
      cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, kMostBytes);
  if (sized != cudaSuccess) return sized;
  const EarlyLaunch launch{
      .blocks = dim3(static_cast<unsigned>(plan.parts), static_cast<unsigned>(plan.tiles),
                     static_cast<unsigned>(ConvPlan::channel_tiles(maps))),
      .threads = dim3(kThreads),
      .shared_bytes = static_cast<int>(shared_bytes(maps, plan)),
      .stream = stream,
      .cluster_blocks = static_cast<unsigned>(plan.parts)};
  return launch_early(launch, kernel, maps, plan, tensors);
}

}  // namespace ddpm::cuda
