#include <algorithm>

#include "ddpm/kernels/cuda/conv2d_warpgroup_feed.cuh"
#include "ddpm/kernels/cuda/conv2d_warpgroup_kernels.h"
#include "ddpm/kernels/cuda/conv2d_warpgroup_multiply.cuh"
#include "ddpm/kernels/cuda/early_launch.cuh"

namespace ddpm::cuda {
namespace {

using namespace warpgroup;

template <typename Form>
__device__ void prepare(Shared<Form>& shared) {
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
  if constexpr (Form::kSmall) {  // the zeros between images stay
    auto* slots = &shared.pixels[0][0][0];
    const int count = kPixelStages * kParts * Halo<Form::kSmall>::kSlots;
    for (int i = threadIdx.x; i < count; i += kGroups * kGroupThreads) slots[i] = {0, 0, 0, 0};
  }
  show_writes_to_async_proxy();
  __syncthreads();
}

template <typename Form>
__global__ void __launch_bounds__(kGroups* kGroupThreads, 1)
    conv_kernel(const __grid_constant__ WarpgroupConv conv,
                const __grid_constant__ WarpgroupConvTensors t,
                const __grid_constant__ Tiles tiles) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(128) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared<Form>*>(memory);
  let_next_kernel_begin();
  prepare(shared);
  const Share<Form> share{conv};
  const int group = threadIdx.x / kGroupThreads;
  if (group < kFeeders) {
    give_registers<kProducerRegisters>();
    const int thread = threadIdx.x - kWarpThreads;
    if (thread < 0) {
      WeightFeeder<Form>{conv, t, shared, static_cast<int>(threadIdx.x)}.feed_all(tiles, share);
    } else {
      PixelFeeder<Form>{conv, t, tiles, shared, thread % kParts, thread / kParts}.feed_all(share);
    }
    if constexpr (Form::kSplit > 1) watch_cluster_add();
  } else {
    take_registers<kConsumerRegisters>();
    Multiplier<Form>{conv, t, shared, group - kFeeders,
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
template <typename Form>
int clusters_at_once() {
  cudaLaunchAttribute cluster{};
  cluster.id = cudaLaunchAttributeClusterDimension;
  cluster.val.clusterDim = {Form::kSplit, 1, 1};
  cudaLaunchConfig_t config{};
  config.gridDim = Form::kSplit;
  config.blockDim = kGroups * kGroupThreads;
  config.dynamicSmemBytes = sizeof(Shared<Form>);
  config.attrs = &cluster;
  config.numAttrs = 1;
  int count = 0;
  return cudaOccupancyMaxActiveClusters(&count, conv_kernel<Form>, &config) == cudaSuccess ? count
                                                                                           : 0;
}

template <typename Form>
cudaError_t launch(const Launch& launch) {
  const int blocks = Form::kSplit > 1 ? launch.tiles.count * Form::kSplit
                                      : std::min(launch.tiles.count, launch.processors);
  return launch_early({.blocks = dim3(static_cast<unsigned>(blocks)),
                       .threads = dim3(kGroups * kGroupThreads),
                       .shared_bytes = sizeof(Shared<Form>),
                       .stream = launch.stream,
                       .cluster_blocks = Form::kSplit},
                      conv_kernel<Form>, launch.conv, launch.tensors, launch.tiles);
}

template <typename Form>
cudaError_t allow_memory() {
  return cudaFuncSetAttribute(conv_kernel<Form>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              sizeof(Shared<Form>));
}

template <bool kSmall>
cudaError_t launch_phases(const Launch& work) {
  using Form = FormOf<kSmall, 2, 1>;
  const auto error = allow_memory<Form>();
  return error != cudaSuccess ? error : launch<Form>(work);
}

/// With a tile's chunks shared out among as many blocks as the device holds at once.
template <bool kSmall>
cudaError_t launch_split(const Launch& work) {
  using Whole = FormOf<kSmall, 3, 1>;
  using Half = FormOf<kSmall, 3, 2>;
  using Quarter = FormOf<kSmall, 3, 4>;
  for (const auto error : {allow_memory<Whole>(), allow_memory<Half>(), allow_memory<Quarter>()}) {
    if (error != cudaSuccess) return error;
  }
  static const int halves = clusters_at_once<Half>(), quarters = clusters_at_once<Quarter>();
  const WarpgroupConv& conv = work.conv;
  const int chunks =
      (conv.channels + conv.rest_channels + conv.side_channels + conv.side_rest) / kChunk;
  if (work.tiles.count <= quarters && chunks >= 8) return launch<Quarter>(work);
  return work.tiles.count <= halves ? launch<Half>(work) : launch<Whole>(work);
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
  const int wide = kSmall ? 1 : conv.width / 16, whole = kSmall ? 1 : wide * (conv.height / 16);
  const int pixel_tiles = kSmall ? (conv.images + 3) / 4 : conv.images * whole;
  const int columns = conv.out_channels / kOut, all_columns = columns * (conv.upsampled ? 4 : 1);
  const Tiles tiles{.count = pixel_tiles * all_columns,
                    .columns = Divisor(all_columns),
                    .phase_columns = Divisor(columns),
                    .whole = Divisor(whole),
                    .wide = Divisor(wide)};
  const Launch work{conv, tensors, tiles, processors, stream};
  return conv.upsampled ? launch_phases<kSmall>(work) : launch_split<kSmall>(work);
}

/// Tiles of an upsampled map's convolution are cut from the map before.
WarpgroupConv before_upsampling(WarpgroupConv conv) {
  if (!conv.upsampled) return conv;
  conv.height /= 2;
  conv.width /= 2;
  return conv;
}

}  // namespace

bool is_warpgroup_conv(const WarpgroupConv& conv) {
  const WarpgroupConv map = before_upsampling(conv);
  const bool is_small = map.height == 8 && map.width == 8;
  const bool is_large = map.height % 16 == 0 && map.width % 16 == 0 && map.height > 0;
  return device_has_warpgroup_conv() && (is_small || is_large) && conv.channels % kChunk == 0 &&
         conv.rest_channels % kChunk == 0 && conv.side_channels % kChunk == 0 &&
         conv.side_rest % kChunk == 0 && conv.out_channels % kOut == 0 &&
         conv.channels + conv.rest_channels >= 4 * kChunk &&
         !(conv.upsampled && conv.side_channels > 0);
}

cudaError_t conv2d_warpgroup(const WarpgroupConv& conv, const WarpgroupConvTensors& tensors,
                             cudaStream_t stream) {
  const WarpgroupConv map = before_upsampling(conv);
  return map.width == 8 ? run<true>(map, tensors, stream) : run<false>(map, tensors, stream);
}

bool device_has_warpgroup_conv() {
  constexpr int kMajor = 9;  // what is compiled for sm_90a runs there alone
  static const bool is_compiled = [] {
    cudaFuncAttributes attributes{};
    return cudaFuncGetAttributes(&attributes, conv_kernel<FormOf<true, 3, 1>>) == cudaSuccess &&
           attributes.maxThreadsPerBlock >= kGroups * kGroupThreads &&
           attributes.numRegs > kProducerRegisters;
  }();
  int device = 0, major = 0;
  return is_compiled && cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major == kMajor;
}

}  // namespace ddpm::cuda
