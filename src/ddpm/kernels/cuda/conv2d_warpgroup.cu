#include <algorithm>

#include "ddpm/kernels/cuda/conv2d_warpgroup_feed.cuh"
#include "ddpm/kernels/cuda/conv2d_warpgroup_kernels.h"
#include "ddpm/kernels/cuda/conv2d_warpgroup_multiply.cuh"
#include "ddpm/kernels/cuda/early_launch.cuh"

namespace ddpm::cuda {
namespace {

using namespace warpgroup;

template <bool kSmall>
__device__ void prepare(Shared<kSmall>& shared) {
  if (threadIdx.x == 0) {
    for (int i = 0; i < kPixelStages; ++i) {
      init_barrier(&shared.pixels_full[i], kPixelWarps);
      init_barrier(&shared.pixels_empty[i], kMultiplierWarps);
    }
    for (int i = 0; i < kWeightStages; ++i) {
      init_barrier(&shared.weights_full[i], 1);
      init_barrier(&shared.weights_empty[i], kMultiplierWarps);
    }
    init_barrier(&shared.result_full, kPixelThreads);
    init_barrier(&shared.result_empty, kMultiplierWarps);
  }
  if constexpr (kSmall) {  // the zeros between images stay
    auto* slots = &shared.pixels[0][0][0];
    const int count = kPixelStages * kParts * Halo<kSmall>::kSlots;
    for (int i = threadIdx.x; i < count; i += kGroups * kGroupThreads) slots[i] = {0, 0, 0, 0};
  }
  show_writes_to_async_proxy();
  __syncthreads();
}

template <bool kSmall, int kSplit>
__global__ void __launch_bounds__(kGroups* kGroupThreads, 1)
    conv_kernel(const __grid_constant__ WarpgroupConv conv,
                const __grid_constant__ WarpgroupConvTensors t,
                const __grid_constant__ Tiles tiles) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(128) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared<kSmall>*>(memory);
  let_next_kernel_begin();
  prepare(shared);
  const Share<kSplit> share{conv};
  const int group = threadIdx.x / kGroupThreads;
  if (group < kFeeders) {
    give_registers<kProducerRegisters>();
    const int thread = threadIdx.x - kWarpThreads;
    if (thread < 0) {
      WeightFeeder<kSmall>{conv, t, shared, static_cast<int>(threadIdx.x)}.feed_all(tiles, share);
    } else {
      PixelFeeder<kSmall>{conv, t, tiles, shared, thread % kParts, thread / kParts}.feed_all(share);
    }
    if constexpr (kSplit > 1) watch_cluster_add();
  } else {
    take_registers<kConsumerRegisters>();
    Multiplier<kSmall>{conv, t, shared, group - kFeeders,
                       static_cast<int>(threadIdx.x) % kGroupThreads}
        .multiply_tiles(tiles, share);
  }
#endif
}

struct Launch {
  const WarpgroupConv& conv;
  const WarpgroupConvTensors& tensors;
  const Tiles& tiles;
  int processors;
  cudaStream_t stream;
};

/// Clusters that the device holds at once.
template <bool kSmall, int kSplit>
int clusters_at_once() {
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {kSplit, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = kSplit;
  config.blockDim = kGroups * kGroupThreads;
  config.dynamicSmemBytes = sizeof(Shared<kSmall>);
  config.attrs = &cluster;
  config.numAttrs = 1;
  int count = 0;
  return cudaOccupancyMaxActiveClusters(&count, conv_kernel<kSmall, kSplit>, &config) == cudaSuccess
             ? count
             : 0;
}

template <bool kSmall, int kSplit>
cudaError_t launch(const Launch& launch) {
  const int blocks =
      kSplit > 1 ? launch.tiles.count * kSplit : std::min(launch.tiles.count, launch.processors);
  return launch_early({.blocks = dim3(static_cast<unsigned>(blocks)),
                       .threads = dim3(kGroups * kGroupThreads),
                       .shared_bytes = sizeof(Shared<kSmall>),
                       .stream = launch.stream,
                       .cluster_blocks = kSplit},
                      conv_kernel<kSmall, kSplit>, launch.conv, launch.tensors, launch.tiles);
}

template <bool kSmall, int kSplit>
cudaError_t allow_memory() {
  return cudaFuncSetAttribute(conv_kernel<kSmall, kSplit>,
                              cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared<kSmall>));
}

/// With a tile's chunks shared out among as many blocks as the device holds at once.
template <bool kSmall>
cudaError_t launch_split(const Launch& work) {
  for (const auto error :
       {allow_memory<kSmall, 1>(), allow_memory<kSmall, 2>(), allow_memory<kSmall, 4>()}) {
    if (error != cudaSuccess) return error;
  }
  static const int fours = clusters_at_once<kSmall, 4>(), pairs = clusters_at_once<kSmall, 2>();
  const WarpgroupConv& conv = work.conv;
  const int chunks =
      (conv.channels + conv.rest_channels + conv.side_channels + conv.side_rest) / kChunk;
  if (work.tiles.count <= fours && chunks >= 8) return launch<kSmall, 4>(work);
  return work.tiles.count <= pairs ? launch<kSmall, 2>(work) : launch<kSmall, 1>(work);
}

template <bool kSmall>
cudaError_t run(const WarpgroupConv& conv, const WarpgroupConvTensors& tensors,
                cudaStream_t stream) {
  int device = 0, processors = 0;
  if (const auto error = cudaGetDevice(&device); error != cudaSuccess) return error;
  if (const auto error =
          cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
      error != cudaSuccess) {
    return error;
  }
  const int pixel_tiles =
      kSmall ? (conv.images + 3) / 4 : conv.images * (conv.height / 16) * (conv.width / 16);
  const int columns = conv.out_channels / kOut, wide = kSmall ? 1 : conv.width / 16;
  const Tiles tiles{.count = pixel_tiles * columns,
                    .columns = Divisor(columns),
                    .whole = Divisor(kSmall ? 1 : wide * (conv.height / 16)),
                    .wide = Divisor(wide)};
  return launch_split<kSmall>({conv, tensors, tiles, processors, stream});
}

}  // namespace

bool is_warpgroup_conv(const WarpgroupConv& conv) {
  const bool is_small = conv.height == 8 && conv.width == 8;
  const bool is_large = conv.height % 16 == 0 && conv.width % 16 == 0 && conv.height > 0;
  return device_has_warpgroup_conv() && (is_small || is_large) && conv.channels % kChunk == 0 &&
         conv.rest_channels % kChunk == 0 && conv.side_channels % kChunk == 0 &&
         conv.side_rest % kChunk == 0 && conv.out_channels % kOut == 0 &&
         conv.channels + conv.rest_channels >= 4 * kChunk &&
         !(conv.upsampled && conv.side_channels > 0);
}

cudaError_t conv2d_warpgroup(const WarpgroupConv& conv, const WarpgroupConvTensors& tensors,
                             cudaStream_t stream) {
  return conv.width == 8 ? run<true>(conv, tensors, stream) : run<false>(conv, tensors, stream);
}

bool device_has_warpgroup_conv() {
  constexpr int kMajor = 9;  // what is compiled for sm_90a runs there alone
  static const bool is_compiled = [] {
    cudaFuncAttributes attributes{};
    return cudaFuncGetAttributes(&attributes, conv_kernel<true, 1>) == cudaSuccess &&
           attributes.maxThreadsPerBlock >= kGroups * kGroupThreads &&
           attributes.numRegs > kProducerRegisters;
  }();
  int device = 0, major = 0;
  return is_compiled && cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major == kMajor;
}

}  // namespace ddpm::cuda
