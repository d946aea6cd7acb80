#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/call_inputs_kernels.h"
#include "ddpm/kernels/cuda/early_launch.cuh"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 128;

__device__ void copy_words(const WordsCopy& words) {
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < words.words;
       i += step) {
    words.to[i] = words.from[i];
  }
}

/// A thread for a pixel.
template <typename From, typename To>
__global__ void __launch_bounds__(kThreads) copy_kernel(CallCopy copy) {
  const MapCopy& map = copy.map;
  let_next_kernel_begin();
  wait_for_previous_kernel();
  copy_words(copy.t);
  copy_words(copy.labels);
  const uint32_t pixel = blockIdx.x * kThreads + threadIdx.x;  // fewer than 2^31
  const auto row = static_cast<int>(pixel / static_cast<uint32_t>(map.width));
  const int column = static_cast<int>(pixel) - row * map.width;
  const int image = row / map.height;
  if (image >= map.images) return;
  const auto* const from = static_cast<const From*>(map.from) + image * map.image_stride +
                           (row % map.height) * map.row_stride + column * map.column_stride;
  auto* const to = static_cast<To*>(map.to) + static_cast<int64_t>(pixel) * map.channels;
#pragma unroll 4
  for (int c = 0; c < map.channels; ++c) {
    to[c] = static_cast<To>(static_cast<float>(from[c * map.channel_stride]));
  }
}

}  // namespace

cudaError_t copy_call_inputs(const CallCopy& copy, cudaStream_t stream) {
  const MapCopy& map = copy.map;
  const int64_t pixels = static_cast<int64_t>(map.images) * map.height * map.width;
  const EarlyLaunch launch{
      .blocks = dim3(static_cast<unsigned>((pixels + kThreads - 1) / kThreads)),
      .threads = dim3(kThreads),
      .shared_bytes = 0,
      .stream = stream};
  const auto run = [&]<typename From, typename To>() {
    return launch_early(launch, copy_kernel<From, To>, copy);
  };
  if (map.from_bf16) {
    return map.to_bf16 ? run.template operator()<__nv_bfloat16, __nv_bfloat16>()
                       : run.template operator()<__nv_bfloat16, float>();
  }
  return map.to_bf16 ? run.template operator()<float, __nv_bfloat16>()
                     : run.template operator()<float, float>();
}

}  // namespace ddpm::cuda
