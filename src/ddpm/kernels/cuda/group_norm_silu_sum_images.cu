#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/group_norm_silu_kernels.h"
#include "ddpm/kernels/cuda/split_sum.cuh"
#include "ddpm/kernels/cuda/vector_types.cuh"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int kColumns = 8;  // of a block: a sector of memory
constexpr int kWarps = kThreads / 32;

/// Of a channel, summed over the images, by GroupNormGradients::sums.
enum SumKind { kOfBias, kOfWeight, kOfMaps, kSumKinds };

template <typename T>
__device__ void write_map_sum(const GroupNormShape& shape, const MapGradientSums& maps, int channel,
                              float sum) {
  const int main = shape.channels - shape.rest_channels;
  if (channel < main) {
    sum += load_split(static_cast<const T*>(maps.d_skip), main, channel);
    sum += load_split(static_cast<const T*>(maps.d_later), main, channel);
    return store_split(static_cast<T*>(maps.d_x), main, channel, sum);
  }
  const int rest = shape.rest_channels;
  sum += load_split(static_cast<const T*>(maps.d_skip_rest), rest, channel - main);
  store_split(static_cast<T*>(maps.d_x_rest), rest, channel - main, sum);
}

/// Block (x, k) sums kColumns channels of kind k; the order of additions depends on the shape
/// alone.
template <typename T>
__global__ void __launch_bounds__(kThreads)
    sum_images_kernel(GroupNormShape shape, GroupNormGradients gradients) {
  __shared__ float partial[kWarps][kColumns];
  wait_for_previous_kernel();
  const int thread = static_cast<int>(threadIdx.x), kind = static_cast<int>(blockIdx.y);
  const int channel = static_cast<int>(blockIdx.x) * kColumns + thread % kColumns;
  const float* const sums =
      gradients.sums + static_cast<int64_t>(kind) * shape.images * shape.channels + channel;
  float total = 0;
  if (channel < shape.channels) {
#pragma unroll 4
    for (int image = thread / kColumns; image < shape.images; image += kThreads / kColumns) {
      total += sums[static_cast<int64_t>(image) * shape.channels];
    }
  }
  for (int offset = 16; offset >= kColumns; offset /= 2) {
    total += __shfl_xor_sync(0xffffffff, total, offset);
  }
  if (thread % 32 < kColumns) partial[thread / 32][thread % 32] = total;
  __syncthreads();
  if (thread >= kColumns || channel >= shape.channels) return;
  float sum = 0;
  for (int w = 0; w < kWarps; ++w) sum += partial[w][thread];
  T* const d_bias = static_cast<T*>(gradients.d_bias);
  T* const d_weight = static_cast<T*>(gradients.d_weight);
  if (kind == kOfBias && d_bias != nullptr) d_bias[channel] = static_cast<T>(sum);
  if (kind == kOfWeight && d_weight != nullptr) d_weight[channel] = static_cast<T>(sum);
  if (kind == kOfMaps) write_map_sum<T>(shape, gradients.map_sums, channel, sum);
}

template <typename T>
cudaError_t sum_images(const GroupNormShape& shape, const GroupNormGradients& gradients,
                       cudaStream_t stream) {
  const int blocks = (shape.channels + kColumns - 1) / kColumns;
  const int kinds = gradients.map_sums.are_wanted() ? kSumKinds : kOfMaps;
  return launch_early({.blocks = dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(kinds)),
                       .threads = dim3(kThreads),
                       .shared_bytes = 0,
                       .stream = stream},
                      sum_images_kernel<T>, shape, gradients);
}

}  // namespace

cudaError_t group_norm_silu_sum_images(const GroupNormShape& shape,
                                       const GroupNormGradients& gradients, cudaStream_t stream) {
  const bool none = gradients.d_weight == nullptr && gradients.d_bias == nullptr;
  if (none && !gradients.map_sums.are_wanted()) return cudaSuccess;
  return shape.bf16 ? sum_images<__nv_bfloat16>(shape, gradients, stream)
                    : sum_images<float>(shape, gradients, stream);
}

}  // namespace ddpm::cuda
