#include "ddpm/kernels/cuda/map_attention_block.cuh"

namespace ddpm::cuda {
namespace {

using namespace map_attention;

/// The map as it is.
__device__ __forceinline__ void copy_pixels(const void* map, Shared& shared, int64_t image_at) {
  const int plane = static_cast<int>(threadIdx.x) % kPlanes;
  const int first = static_cast<int>(threadIdx.x) / kPlanes;
  const auto* from = static_cast<const bf16*>(map) + image_at + plane * kPart;
#pragma unroll
  for (int i = 0; i < Multiplier::kLoads; ++i) {
    const int pixel = first + i * Multiplier::kPixelsAtOnce;
    copy_async_or_zero(&shared.pixels[plane][pixel], from + pixel * kMapChannels, true);
  }
  commit_copies();
  wait_for_copies<0>();
}

/// Of a tile's rows as queries; what they are as keys and values is left to products of all rows.
__device__ __forceinline__ void differentiate(const MapAttentionGradients& g, Multiplier& m,
                                              int64_t at, int tile) {
  m.load(g.d_out, at, tile);
  m.multiply_rows_with_weight();
  m.round_sums();
  m.store(g.d_attended, 2 * at, tile);
  multiply_with_pixels(m.sums, m.rows, m.shared);
  m.load(g.probabilities, 2 * at, tile);
  softmax_gradient(m.rows, m.sums);
  m.store(g.d_scores, 2 * at, tile);
  sum_pixels(m.sums, m.rows, m.shared);
  m.round_sums();
  m.store(g.d_queries, at, tile);
  m.multiply_rows_with_weight();
  m.round_sums();
  m.store(g.d_normed, at, tile);
}

__global__ void __launch_bounds__(kThreads, 1)
    attend_map_backward_kernel(const __grid_constant__ MapAttentionGradients g,
                               int blocks_of_image) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(128) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared*>(memory);
  let_next_kernel_begin();
  prepare_barriers(shared);
  __syncthreads();
  run_block(
      shared, g.out_weight, g.score_weight, blocks_of_image,
      [&](int image, int, int) { copy_pixels(g.normed, shared, map_at(image)); },
      [&](Multiplier& m, int image, int tile) { differentiate(g, m, map_at(image), tile); });
#endif
}

}  // namespace

cudaError_t attend_map_backward(const MapAttentionGradients& gradients, cudaStream_t stream) {
  return launch_for_images(attend_map_backward_kernel, gradients, stream);
}

}  // namespace ddpm::cuda
