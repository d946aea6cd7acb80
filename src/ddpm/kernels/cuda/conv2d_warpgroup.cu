#include <algorithm>

#include "ddpm/kernels/cuda/conv2d_warpgroup_feed.cuh"
#include "ddpm/kernels/cuda/conv2d_warpgroup_four_feed.cuh"
#include "ddpm/kernels/cuda/conv2d_warpgroup_kernels.h"
#include "ddpm/kernels/cuda/conv2d_warpgroup_multiply.cuh"
#include "ddpm/kernels/cuda/early_launch.cuh"

namespace ddpm::cuda {
namespace {

using namespace warpgroup;

template <typename Form>
__device__ void prepare(Shared<Form>& shared) {
  if (threadIdx.x == 0) {
    constexpr int kResidualWarps = Form::kFour ? 1 : 0;  // others than those of pixels
    for (int i = 0; i < kPixelStages; ++i) {
      init_barrier(&shared.pixels_full[i], kPixelWarps - kResidualWarps);
      init_barrier(&shared.pixels_empty[i], kMultiplierWarps);
    }
    for (int i = 0; i < kWeightStages; ++i) {
      init_barrier(&shared.weights_full[i], 1);
      init_barrier(&shared.weights_empty[i], kMultiplierWarps);
    }
    init_barrier(&shared.result_full, Form::kFour ? kResidualWarps * kWarpThreads : kPixelThreads);
    init_barrier(&shared.result_done, kMultiplierWarps * kWarpThreads);
  }
  if constexpr (Form::kMaps != Maps::kLarge) {  // the zeros between images or columns stay
    auto* slots = &shared.pixels[0][0][0];
    const int count = kPixelStages * kParts * Halo<Form>::kSlots;
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
    } else if constexpr (Form::kFour) {
      FeederOfFour<Form>{conv, t, tiles, shared, thread % kParts, thread / kParts}.feed_all(share);
    } else {
      PixelFeeder<Form>{conv, t, tiles, shared, thread % kParts, thread / kParts}.feed_all(share);
    }
    if constexpr (Form::kSplit > 1) leave_pixels();
  } else {
    take_registers<kConsumerRegisters>();
    // Products that depend on the group need the compiler to know that a warp's lanes agree.
    const int multiplying = Form::kFour ? __shfl_sync(~0U, group - kFeeders, 0) : group - kFeeders;
    Multiplier<Form> multiplier{conv, t, shared, multiplying,
                                static_cast<int>(threadIdx.x) % kGroupThreads};
    if constexpr (Form::kFour) {
      multiplier.multiply_tiles_of_four(tiles, share);
    } else {
      multiplier.multiply_tiles(tiles, share);
    }
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

template <typename Form>
cudaError_t allow_memory() {
  return cudaFuncSetAttribute(conv_kernel<Form>, cudaFuncAttributeMaxDynamicSharedMemorySize,
                              sizeof(Shared<Form>));
}

/// Clusters that the first device that is asked holds at once.
template <typename Form>
int clusters_at_once() {
  static const int clusters = [] {
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
    const bool is_known =
        allow_memory<Form>() == cudaSuccess &&
        cudaOccupancyMaxActiveClusters(&count, conv_kernel<Form>, &config) == cudaSuccess;
    return is_known ? count : 0;
  }();
  return clusters;
}

int chunks_in(const WarpgroupConv& conv) {
  return (conv.channels + conv.rest_channels + conv.side_channels + conv.side_rest) / kChunk;
}

template <typename Form>
Tiles tiles_of(const WarpgroupConv& conv) {
  constexpr bool kOfImages = Form::kMaps != Maps::kLarge;  // whole ones
  const int wide = kOfImages ? 1 : conv.width / 16;
  const int whole = kOfImages ? 1 : wide * (conv.height / 16);
  constexpr int kImages = Form::kFour ? kFourImages : kOfImages ? Form::kPatches : 1;
  constexpr int kTilesOfMap = Form::kFour ? 2 : 1;
  const int pixel_tiles = (conv.images + kImages - 1) / kImages * kTilesOfMap * whole;
  const int columns = conv.out_channels / kOut;
  const int all_columns = columns * (Form::kPhases ? 4 : 1);
  return {.count = pixel_tiles * all_columns,
          .columns = Divisor(all_columns),
          .phase_columns = Divisor(columns),
          .whole = Divisor(whole),
          .wide = Divisor(wide)};
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
cudaError_t launch_form(const WarpgroupConv& conv, const WarpgroupConvTensors& tensors,
                        int processors, cudaStream_t stream) {
  if (const auto error = allow_memory<Form>(); error != cudaSuccess) return error;
  return launch<Form>({conv, tensors, tiles_of<Form>(conv), processors, stream});
}

/// Of 4x4 maps: as many blocks for a tile as the device holds at once, each with a chunk or more.
cudaError_t run_four(const WarpgroupConv& conv, const WarpgroupConvTensors& tensors, int processors,
                     cudaStream_t stream) {
  using Alone = FormOf<Maps::kFour, Taps::kAll, 1, 1>;
  using OfTwo = FormOf<Maps::kFour, Taps::kAll, 2, 1>;
  using OfFour = FormOf<Maps::kFour, Taps::kAll, 4, 1>;
  using OfEight = FormOf<Maps::kFour, Taps::kAll, 8, 1>;
  const auto with = [&]<typename Form>(Form) {
    return launch_form<Form>(conv, tensors, processors, stream);
  };
  const int tiles = tiles_of<Alone>(conv).count;
  const int chunks = (conv.channels + conv.rest_channels) / kChunk;
  if (tiles <= clusters_at_once<OfEight>() && chunks >= OfEight::kSplit) return with(OfEight());
  if (tiles <= clusters_at_once<OfFour>()) return with(OfFour());
  return tiles <= clusters_at_once<OfTwo>() ? with(OfTwo()) : with(Alone());
}

/// The form that keeps most multiprocessors busy: where tiles are few, smaller ones, or their
/// chunks shared out among as many blocks as the device holds at once.
cudaError_t run(const WarpgroupConv& conv, const WarpgroupConvTensors& tensors,
                cudaStream_t stream) {
  using Large = FormOf<Maps::kLarge, Taps::kAll, 1>;
  using LargeOfTwo = FormOf<Maps::kLarge, Taps::kAll, 2>;
  using LargeOfFour = FormOf<Maps::kLarge, Taps::kAll, 4>;
  using Small = FormOf<Maps::kEight, Taps::kAll, 1>;
  using HalfSmall = FormOf<Maps::kEight, Taps::kAll, 1, 1>;
  using HalfSmallOfTwo = FormOf<Maps::kEight, Taps::kAll, 2, 1>;
  int processors = 0;
  if (const auto error = count_processors(processors); error != cudaSuccess) return error;
  const auto with = [&]<typename Form>(Form) {
    return launch_form<Form>(conv, tensors, processors, stream);
  };
  if (conv.width == 4) return run_four(conv, tensors, processors, stream);
  const bool is_small = conv.width == 8;
  if (conv.transposed) {
    return is_small ? with(FormOf<Maps::kEight, Taps::kTransposed, 1>())
                    : with(FormOf<Maps::kLarge, Taps::kTransposed, 1>());
  }
  if (conv.upsampled) {
    return is_small ? with(FormOf<Maps::kEight, Taps::kUpsampled, 1>())
                    : with(FormOf<Maps::kLarge, Taps::kUpsampled, 1>());
  }
  if (is_small) {
    const int halves = tiles_of<HalfSmall>(conv).count;
    if (2 * halves <= processors) return with(HalfSmallOfTwo());
    return halves <= processors ? with(HalfSmall()) : with(Small());
  }
  const int tiles = tiles_of<Large>(conv).count;
  if (tiles <= clusters_at_once<LargeOfFour>() && chunks_in(conv) >= 8) return with(LargeOfFour());
  return 2 * tiles <= processors ? with(LargeOfTwo()) : with(Large());
}

bool has_phases(const WarpgroupConv& conv) { return conv.upsampled || conv.transposed; }

/// Tiles of a result that has phases are cut from the map that comes in.
WarpgroupConv cut_from(WarpgroupConv conv) {
  if (!has_phases(conv)) return conv;
  conv.height /= 2;
  conv.width /= 2;
  return conv;
}

}  // namespace

bool is_warpgroup_conv(const WarpgroupConv& conv) {
  const WarpgroupConv map = cut_from(conv);
  const bool is_four = map.height == 4 && map.width == 4 && !has_phases(conv);
  const bool is_small = map.height == 8 && map.width == 8;
  const bool is_large = map.height % 16 == 0 && map.width % 16 == 0 && map.height > 0;
  return device_has_warpgroup_conv() && (is_four || is_small || is_large) &&
         conv.channels % kChunk == 0 && conv.rest_channels % kChunk == 0 &&
         conv.side_channels % kChunk == 0 && conv.side_rest % kChunk == 0 &&
         conv.out_channels % kOut == 0 && conv.channels + conv.rest_channels >= 4 * kChunk &&
         !(has_phases(conv) && conv.side_channels > 0);
}

cudaError_t conv2d_warpgroup(const WarpgroupConv& conv, const WarpgroupConvTensors& tensors,
                             cudaStream_t stream) {
  return run(cut_from(conv), tensors, stream);
}

bool device_has_warpgroup_conv() {
  constexpr int kMajor = 9;  // what is compiled for sm_90a runs there alone
  static const bool is_compiled = [] {
    cudaFuncAttributes attributes{};
    using Form = FormOf<Maps::kEight, Taps::kAll, 1>;
    return cudaFuncGetAttributes(&attributes, conv_kernel<Form>) == cudaSuccess &&
           attributes.maxThreadsPerBlock >= kGroups * kGroupThreads &&
           attributes.numRegs > kProducerRegisters;
  }();
  int device = 0, major = 0;
  return is_compiled && cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major == kMajor;
}

}  // namespace ddpm::cuda
