#pragma once

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/map_attention_rows.cuh"

// What the forward and the backward kernel of a map's attention have in common: a block has all
// pixels of a map in shared memory, and weights come through it chunk by chunk.
namespace ddpm::cuda::map_attention {

// Each weight goes through the stages a whole, even number of times: where a chunk stands, and in
// which phase, does not depend on what came before.
static_assert(kChunks % (2 * kStages) == 0);
__host__ __device__ constexpr int stage_of(int chunk) { return chunk % kStages; }
__host__ __device__ constexpr uint32_t phase_of(int chunk) { return chunk / kStages % 2; }

/// By one thread: two weights, chunk by chunk, for each of the block's tiles.
inline __device__ void feed_weights(const void* first, const void* second, Shared& shared,
                                    int tiles) {
#pragma unroll 1
  for (int i = 0; i < tiles * 2 * kChunks; ++i) {
    const auto* weight = static_cast<const unsigned char*>(i / kChunks % 2 == 0 ? first : second);
    const int stage = stage_of(i);
    wait_for_phase(&shared.empty[stage], phase_of(i) ^ 1);
    uint64_t* full = &shared.full[stage];
    arrive_expecting(full, kHalves * kHalfBytes);
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      copy_to_block(shared.weights[stage] + half * kHalfBytes,
                    weight + (half * kChunks + i % kChunks) * kHalfBytes, kHalfBytes, full);
    }
  }
}

/// Where an image's map begins, in values.
__device__ __forceinline__ int64_t map_at(int image) {
  return static_cast<int64_t>(image) * kMapPixels * kMapChannels;
}

/// One of the block's multipliers.
struct Multiplier {
  Shared& shared;
  Sums sums;
  Rows rows;

  static constexpr int kPixelsAtOnce = kMultipliers / kPlanes;  // by all multipliers
  static constexpr int kLoads = kMapPixels / kPixelsAtOnce;     // of a thread

  __device__ explicit Multiplier(Shared& memory) : shared(memory) {}

  __device__ static int group() { return static_cast<int>(threadIdx.x) / kGroupThreads; }
  __device__ static int thread() { return static_cast<int>(threadIdx.x) % kGroupThreads; }
  __device__ static int warp() { return thread() / kWarpThreads; }
  __device__ static int lane() { return static_cast<int>(threadIdx.x) % kWarpThreads; }
  /// Of a tile's row in an image's map, the warp's first.
  __device__ static int warp_row(int tile) {
    return tile * kTileRows + group() * kGroupRows + warp() * kWarpRows;
  }
  __device__ WarpRows& staging() const { return shared.result[group()][warp()].rows; }

  /// rows = those of the tile in a map, and back.
  __device__ void load(const void* map, int64_t image_at, int tile) {
    const auto* from = static_cast<const bf16*>(map) + image_at;
    load_rows(rows, staging(), from + warp_row(tile) * kMapChannels, lane());
  }
  __device__ void store(void* map, int64_t image_at, int tile) {
    auto* to = static_cast<bf16*>(map) + image_at;
    store_rows(rows, staging(), to + warp_row(tile) * kMapChannels, lane());
  }

  /// The descriptor of half the columns of step k of a chunk.
  __device__ uint64_t weight_at(int chunk, int half, int k) const {
    constexpr uint32_t kWeightPlane = kHalf * 16;
    return matrix_at(
        describe_matrix(kWeightPlane, 8 * 16),
        shared_address(shared.weights[stage_of(chunk)]) + half * kHalfBytes + k * 2 * kWeightPlane);
  }

  /// sums = the product of `left` (step, half, add) with all chunks of a weight.
  template <typename F>
  __device__ __forceinline__ void multiply_with_weight(const F& left) {
#pragma unroll
    for (int chunk = 0; chunk < kChunks; ++chunk) {
      wait_for_phase(&shared.full[stage_of(chunk)], phase_of(chunk));
      begin_products();
#pragma unroll
      for (int k = 0; k < kChunk / kStepK; ++k) {
#pragma unroll
        for (int half = 0; half < kHalves; ++half) {
          left(chunk * (kChunk / kStepK) + k, sums[half], weight_at(chunk, half, k));
        }
      }
      commit_products();
      wait_for_products<1>();
      if (chunk > 0) arrive_as_warp(&shared.empty[stage_of(chunk - 1)]);
    }
    wait_for_products<0>();
    arrive_as_warp(&shared.empty[stage_of(kChunks - 1)]);
  }

  /// sums = the pixels of a tile times a weight.
  __device__ void multiply_pixels_with_weight(int tile) {
    const int first_row = tile * kTileRows + group() * kGroupRows;
    const uint64_t matrix = describe_matrix(kPlaneBytes, kEightPixels);
    multiply_with_weight([&](int k, float(&half)[64], uint64_t weight) {
      multiply_64x128(half, matrix_at(matrix, pixels_at(shared, k * kStepK, first_row)), weight,
                      k > 0);
    });
  }
  /// sums = rows times a weight.
  __device__ void multiply_rows_with_weight() {
    multiply_with_weight([&](int k, float(&half)[64], uint64_t weight) {
      multiply_rows<false>(half, rows[k], weight, k > 0);
    });
  }
  __device__ void round_sums() {
    round_rows(rows, sums, [](int, int, float sum) { return sum; });
  }
};

/// Fills shared memory with an image's pixels by fill(image, the first of the block's own pixels,
/// how many), and runs attend(multiplier, image, tile) for the block's tiles: one of the image's,
/// or all.
template <typename Fill, typename Attend>
__device__ __forceinline__ void run_block(Shared& shared, const void* first_weight,
                                          const void* second_weight, int blocks_of_image,
                                          const Fill& fill, const Attend& attend) {
  const int image = static_cast<int>(blockIdx.x) / blocks_of_image;
  const int tiles = kMapPixels / kTileRows / blocks_of_image;
  if (threadIdx.x >= kMultipliers) {
    give_registers<kFeederRegisters>();
    if (threadIdx.x == kMultipliers) feed_weights(first_weight, second_weight, shared, tiles);
    wait_for_previous_kernel();
    return;
  }
  take_registers<kMultiplierRegisters>();
  wait_for_previous_kernel();
  Multiplier multiplier(shared);
  const int first = static_cast<int>(blockIdx.x) % blocks_of_image * tiles;
  fill(image, first * kTileRows, tiles * kTileRows);
  show_writes_to_async_proxy();
  meet(1, kMultipliers);
#pragma unroll 1
  for (int tile = first; tile < first + tiles; ++tile) attend(multiplier, image, tile);
}

__device__ __forceinline__ void prepare_barriers(Shared& shared) {
  if (threadIdx.x != 0) return;
  for (int i = 0; i < kStages; ++i) {
    init_barrier(&shared.full[i], 1);
    init_barrier(&shared.empty[i], kMultipliers / kWarpThreads);
  }
  show_writes_to_async_proxy();
}

/// Launches a kernel whose blocks run_block(): of as many for an image as fill the device.
template <typename Arguments>
cudaError_t launch_for_images(void (*kernel)(Arguments, int), const Arguments& arguments,
                              cudaStream_t stream) {
  int processors = 0;
  if (const auto error = count_processors(processors); error != cudaSuccess) return error;
  if (const auto error =
          cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared));
      error != cudaSuccess) {
    return error;
  }
  constexpr int kTiles = kMapPixels / kTileRows;
  const int blocks_of_image = arguments.images * kTiles <= processors ? kTiles : 1;
  return launch_early({.blocks = dim3(static_cast<unsigned>(arguments.images * blocks_of_image)),
                       .threads = dim3(kThreads),
                       .shared_bytes = sizeof(Shared),
                       .stream = stream},
                      kernel, arguments, blocks_of_image);
}

}  // namespace ddpm::cuda::map_attention
