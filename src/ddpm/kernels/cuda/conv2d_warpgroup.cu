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

template <bool kSmall>
__global__ void __launch_bounds__(kGroups* kGroupThreads, 1)
    conv_kernel(const __grid_constant__ WarpgroupConv conv,
                const __grid_constant__ WarpgroupConvTensors t,
                const __grid_constant__ Tiles tiles) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(128) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared<kSmall>*>(memory);
  let_next_kernel_begin();
  prepare(shared);
  const int group = threadIdx.x / kGroupThreads;
  if (group < kFeeders) {
    give_registers<kProducerRegisters>();
    const int thread = threadIdx.x - kWarpThreads;
    if (thread < 0) {
      WeightFeeder<kSmall>{conv, t, shared, static_cast<int>(threadIdx.x)}.feed_all(tiles);
    } else {
      PixelFeeder<kSmall>{conv, t, tiles, shared, thread % kParts, thread / kParts}.feed_all();
    }
  } else {
    take_registers<kConsumerRegisters>();
    Multiplier<kSmall>{conv, t, shared, group - kFeeders,
                       static_cast<int>(threadIdx.x) % kGroupThreads}
        .multiply_tiles(tiles);
  }
#endif
}

template <bool kSmall>
cudaError_t launch(const WarpgroupConv& conv, const WarpgroupConvTensors& tensors,
                   cudaStream_t stream) {
  int device = 0, processors = 0;
  if (const auto error = cudaGetDevice(&device); error != cudaSuccess) return error;
  if (const auto error =
          cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
      error != cudaSuccess) {
    return error;
  }
  constexpr int kBytes = sizeof(Shared<kSmall>);
  if (const auto error = cudaFuncSetAttribute(conv_kernel<kSmall>,
                                              cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
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
  return launch_early({.blocks = dim3(static_cast<unsigned>(std::min(tiles.count, processors))),
                       .threads = dim3(kGroups * kGroupThreads),
                       .shared_bytes = kBytes,
                       .stream = stream},
                      conv_kernel<kSmall>, conv, tensors, tiles);
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
  return conv.width == 8 ? launch<true>(conv, tensors, stream)
                         : launch<false>(conv, tensors, stream);
}

bool device_has_warpgroup_conv() {
  constexpr int kMajor = 9;  // what is compiled for sm_90a runs there alone
  static const bool is_compiled = [] {
    cudaFuncAttributes attributes{};
    return cudaFuncGetAttributes(&attributes, conv_kernel<true>) == cudaSuccess &&
           attributes.maxThreadsPerBlock >= kGroups * kGroupThreads &&
           attributes.numRegs > kProducerRegisters;
  }();
  int device = 0, major = 0;
  return is_compiled && cudaGetDevice(&device) == cudaSuccess &&
         cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device) == cudaSuccess &&
         major == kMajor;
}

}  // namespace ddpm::cuda
