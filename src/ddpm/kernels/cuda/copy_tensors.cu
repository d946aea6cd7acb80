#include <algorithm>
#include <cstdint>

#include "ddpm/kernels/cuda/copy_tensors_kernels.h"
#include "ddpm/kernels/cuda/early_launch.cuh"

namespace ddpm::cuda {
namespace {

constexpr int kThreads = 256;
constexpr int64_t kBytesEach = 16 * 1024;  // of a block
constexpr int64_t kMostBlocks = 128;       // of a tensor

template <typename Unit>
__device__ void copy_units(const TensorCopy& copy, int64_t first, int64_t count) {
  const auto* const from = static_cast<const Unit*>(copy.from) + first;
  auto* const to = static_cast<Unit*>(copy.to) + first;
  const int64_t step = static_cast<int64_t>(gridDim.x) * kThreads;
#pragma unroll 4
  for (int64_t i = static_cast<int64_t>(blockIdx.x) * kThreads + threadIdx.x; i < count;
       i += step) {
    to[i] = from[i];
  }
}

__global__ void __launch_bounds__(kThreads) copy_kernel(const __grid_constant__ TensorCopies all) {
  const TensorCopy& copy = all.of[blockIdx.y];
  wait_for_previous_kernel();
  const bool is_aligned =
      (reinterpret_cast<uintptr_t>(copy.from) | reinterpret_cast<uintptr_t>(copy.to)) %
          sizeof(uint4) ==
      0;
  const int64_t vectors = is_aligned ? copy.bytes / static_cast<int64_t>(sizeof(uint4)) : 0;
  const int64_t first_byte = vectors * static_cast<int64_t>(sizeof(uint4));
  copy_units<uint4>(copy, 0, vectors);
  copy_units<unsigned char>(copy, first_byte, copy.bytes - first_byte);
}

}  // namespace

cudaError_t copy_each(const TensorCopies& copies, cudaStream_t stream) {
  int64_t most_bytes = 0;
  for (int i = 0; i < copies.count; ++i) most_bytes = std::max(most_bytes, copies.of[i].bytes);
  if (most_bytes == 0) return cudaSuccess;
  const int64_t blocks = std::min((most_bytes + kBytesEach - 1) / kBytesEach, kMostBlocks);
  return launch_early(
      {.blocks = dim3(static_cast<unsigned>(blocks), static_cast<unsigned>(copies.count)),
       .threads = dim3(kThreads),
       .shared_bytes = 0,
       .stream = stream},
      copy_kernel, copies);
}

}  // namespace ddpm::cuda
