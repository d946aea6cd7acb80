#include <algorithm>

#include "ddpm/kernels/cuda/conv2d_warpgroup_kernels.h"
#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/map_attention.cuh"
#include "ddpm/kernels/cuda/vector_types.cuh"

namespace ddpm::cuda {
namespace {

using namespace map_attention;

// Each weight goes through the stages a whole, even number of times: where a chunk stands, and in
// which phase, does not depend on what came before.
static_assert(kChunks % (2 * kStages) == 0);
__host__ __device__ constexpr int stage_of(int chunk) { return chunk % kStages; }
__host__ __device__ constexpr uint32_t phase_of(int chunk) { return chunk / kStages % 2; }

/// By one thread: both weights, chunk by chunk, for each of the block's tiles.
__device__ void feed_weights(const MapAttention& a, Shared& shared, int tiles) {
  for (int i = 0; i < tiles * 2 * kChunks; ++i) {
    const auto* weight =
        static_cast<const unsigned char*>(i / kChunks % 2 == 0 ? a.score_weight : a.out_weight);
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

/// A warp's rows, columns by columns: from the map, which is on its way while the columns before
/// are worked on, to shared memory, and from there to the result.
struct Residual {
  static constexpr int kVectors = kColumns / kPart, kRowsAtOnce = kWarpThreads / kVectors;
  static constexpr int kLoads = kWarpRows / kRowsAtOnce;

  const bf16* from;
  int vector, row, place;
  uint4 next[kLoads];

  __device__ Residual(const bf16* rows, int lane)
      : from(rows),
        vector(lane % kVectors),
        row(lane / kVectors),
        place(row * kMapChannels + vector * kPart) {
    ask_for(0);
  }
  __device__ int at(int block, int i) const {
    return place + block * kColumns + i * kRowsAtOnce * kMapChannels;
  }
  __device__ void ask_for(int block) {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) next[i] = *reinterpret_cast<const uint4*>(from + at(block, i));
  }
  __device__ void leave(unsigned char (&rows)[kWarpRows][kRowBytes]) const {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      *reinterpret_cast<uint4*>(rows[row + i * kRowsAtOnce] + vector * 16) = next[i];
    }
  }
  __device__ void send(const unsigned char (&rows)[kWarpRows][kRowBytes], bf16* out,
                       int block) const {
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      *reinterpret_cast<uint4*>(out + at(block, i)) =
          *reinterpret_cast<const uint4*>(rows[row + i * kRowsAtOnce] + vector * 16);
    }
  }
};

struct Attender {
  const MapAttention& a;
  Shared& shared;
  int image;
  Sums sums;
  Rows rows;

  static constexpr int kPixelsAtOnce = kMultipliers / kPlanes;
  static constexpr int kLoads = kMapPixels / kPixelsAtOnce;  // of a thread
  static constexpr int kLoadGroups = 4, kGroupLoads = kLoads / kLoadGroups;

  __device__ int group() const { return static_cast<int>(threadIdx.x) / kGroupThreads; }
  __device__ int thread() const { return static_cast<int>(threadIdx.x) % kGroupThreads; }
  __device__ int lane() const { return static_cast<int>(threadIdx.x) % kWarpThreads; }
  __device__ int64_t image_at() const {
    return static_cast<int64_t>(image) * kMapPixels * kMapChannels;
  }

  /// Brings the map into shared memory and normalises it there: each thread eight channels.
  __device__ void load_pixels() {
    const int plane = static_cast<int>(threadIdx.x) % kPlanes;
    const int first = static_cast<int>(threadIdx.x) / kPlanes;
    const auto* from = static_cast<const bf16*>(a.x) + image_at() + plane * kPart;
#pragma unroll
    for (int i = 0; i < kLoads; ++i) {
      const int pixel = first + i * kPixelsAtOnce;
      copy_async_or_zero(&shared.pixels[plane][pixel], from + pixel * kMapChannels, true);
      if (i % kGroupLoads == kGroupLoads - 1) commit_copies();
    }
    float2 norm[kPart];
    const auto* norms = reinterpret_cast<const float4*>(
        a.norm + (static_cast<int64_t>(image) * kMapChannels + plane * kPart) * 2);
#pragma unroll
    for (int i = 0; i < kPart / 2; ++i) {
      const float4 two = norms[i];
      norm[2 * i] = {two.x, two.y};
      norm[2 * i + 1] = {two.z, two.w};
    }
    normalise<kLoadGroups - 1>(plane, first, norm);
    show_writes_to_async_proxy();
    meet(1, kMultipliers);
  }

  template <int kPending>
  __device__ void normalise(int plane, int first, const float2 (&norm)[kPart]) {
    wait_for_copies<kPending>();
    constexpr int kBegin = (kLoadGroups - 1 - kPending) * kGroupLoads;
#pragma unroll
    for (int i = kBegin; i < kBegin + kGroupLoads; ++i) {
      auto* at = reinterpret_cast<bf16*>(&shared.pixels[plane][first + i * kPixelsAtOnce]);
      float values[kPart];
      unpack(load_packed(at), values);
#pragma unroll
      for (int c = 0; c < kPart; ++c) values[c] = fmaf(values[c], norm[c].x, norm[c].y);
      store_vector(at, values);
    }
    if constexpr (kPending > 0) normalise<kPending - 1>(plane, first, norm);
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
      if (chunk > 0 && lane() == 0) arrive(&shared.empty[stage_of(chunk - 1)]);
    }
    wait_for_products<0>();
    if (lane() == 0) arrive(&shared.empty[stage_of(kChunks - 1)]);
  }

  __device__ void make_queries(int first_row) {
    const uint64_t matrix = describe_matrix(kPlaneBytes, kEightPixels);
    multiply_with_weight([&](int k, float(&half)[64], uint64_t weight) {
      multiply_64x128(half, matrix_at(matrix, pixels_at(shared, k * kStepK, first_row)), weight,
                      k > 0);
    });
    round_rows(rows, sums,
               [&](int column, int, float sum) { return sum + shared.score_bias[column]; });
  }

  __device__ void project() {
    multiply_with_weight([&](int k, float(&half)[64], uint64_t weight) {
      multiply_rows<false>(half, rows[k], weight, k > 0);
    });
  }

  /// Adds bias and residual to the warp's rows, writes them and leaves their sums.
  __device__ void write_rows(int first_row) {
    const int warp = thread() / kWarpThreads;
    auto& result = shared.result[group()][warp];
    const int64_t place = image_at() + (first_row + warp * kWarpRows) * kMapChannels;
    Residual residual(static_cast<const bf16*>(a.x) + place, lane());
    float4 columns[kBlocks];
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) {
      __syncwarp();
      residual.leave(result.rows);
      if (block + 1 < kBlocks) residual.ask_for(block + 1);
      __syncwarp();
      add_columns(result.rows, block);
      __syncwarp();
      residual.send(result.rows, static_cast<bf16*>(a.out) + place, block);
      columns[block] = sums_of(result.rows);
    }
    if (a.sums == nullptr) return;
    __syncwarp();
#pragma unroll
    for (int block = 0; block < kBlocks; ++block) result.sums[block][lane()] = columns[block];
    meet(2 + group(), kGroupThreads);
    leave_sums(first_row);
    meet(2 + group(), kGroupThreads);
  }

  __device__ void add_columns(unsigned char (&rows_of)[kWarpRows][kRowBytes], int block) {
#pragma unroll
    for (int j = 0; j < kColumns / 8; ++j) {
      const int column = 8 * j + 2 * (lane() % 4), of_map = block * kColumns + column;
      const float2 bias = *reinterpret_cast<const float2*>(&shared.out_bias[of_map]);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        auto* at = reinterpret_cast<__nv_bfloat162*>(rows_of[lane() / 4 + 8 * h] + column * 2);
        const float2 x = __bfloat1622float2(*at);
        const float* sum =
            &sums[block * kColumns / kHalf][4 * (block * kColumns % kHalf / 8 + j) + 2 * h];
        *at = __floats2bfloat162_rn(sum[0] + bias.x + x.x, sum[1] + bias.y + x.y);
      }
    }
  }

  /// Of two columns of the warp's rows.
  __device__ float4 sums_of(const unsigned char (&rows_of)[kWarpRows][kRowBytes]) const {
    float4 sum{0, 0, 0, 0};
#pragma unroll
    for (int row = 0; row < kWarpRows; ++row) {
      const float2 value =
          __bfloat1622float2(reinterpret_cast<const __nv_bfloat162*>(rows_of[row])[lane()]);
      sum = {sum.x + value.x, fmaf(value.x, value.x, sum.y), sum.z + value.y,
             fmaf(value.y, value.y, sum.w)};
    }
    return sum;
  }

  __device__ void leave_sums(int first_row) const {
    float4 sum{0, 0, 0, 0};
#pragma unroll
    for (int warp = 0; warp < kWarps; ++warp) {
      const float4 more = shared.result[group()][warp].sums[thread() / kWarpThreads][lane()];
      sum = {sum.x + more.x, sum.y + more.y, sum.z + more.z, sum.w + more.w};
    }
    const int64_t part =
        static_cast<int64_t>(image) * (kMapPixels / kGroupRows) + first_row / kGroupRows;
    reinterpret_cast<float4*>(a.sums + part * kMapChannels * 2)[thread()] = sum;
  }

  __device__ void attend_rows(int first_row) {
    make_queries(first_row);
    multiply_with_pixels(sums, rows, shared);
    float total[2];
    exponentiate(rows, sums, total);
    sum_pixels(sums, rows, shared);
    const float scale[2] = {1 / total[0], 1 / total[1]};
    round_rows(rows, sums, [&](int, int h, float sum) { return sum * scale[h]; });
    project();
    write_rows(first_row);
  }
};

__device__ void prepare(const MapAttention& a, Shared& shared) {
  if (threadIdx.x == 0) {
    for (int i = 0; i < kStages; ++i) {
      init_barrier(&shared.full[i], 1);
      init_barrier(&shared.empty[i], kMultipliers / kWarpThreads);
    }
    show_writes_to_async_proxy();
  }
  for (int i = static_cast<int>(threadIdx.x); i < kMapChannels; i += kThreads) {
    shared.score_bias[i] = __bfloat162float(static_cast<const bf16*>(a.score_bias)[i]);
    shared.out_bias[i] = __bfloat162float(static_cast<const bf16*>(a.out_bias)[i]);
  }
  __syncthreads();
}

/// A block for one tile of an image's pixels, or for all of them.
__global__ void __launch_bounds__(kThreads, 1)
    attend_map_kernel(const __grid_constant__ MapAttention a, int blocks_of_image) {
#if defined(__CUDA_ARCH_FEAT_SM90_ALL)
  extern __shared__ __align__(128) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared*>(memory);
  let_next_kernel_begin();
  prepare(a, shared);
  const int image = static_cast<int>(blockIdx.x) / blocks_of_image;
  const int tiles = kMapPixels / kTileRows / blocks_of_image;
  if (threadIdx.x >= kMultipliers) {
    give_registers<kFeederRegisters>();
    if (threadIdx.x == kMultipliers) feed_weights(a, shared, tiles);
    wait_for_previous_kernel();
    return;
  }
  take_registers<kMultiplierRegisters>();
  wait_for_previous_kernel();
  Attender attender{a, shared, image};
  attender.load_pixels();
  const int first = static_cast<int>(blockIdx.x) % blocks_of_image * tiles;
  for (int tile = first; tile < first + tiles; ++tile) {
    attender.attend_rows(tile * kTileRows + attender.group() * kGroupRows);
  }
#endif
}

}  // namespace

cudaError_t attend_map(const MapAttention& attention, cudaStream_t stream) {
  int device = 0, processors = 0;
  if (const auto error = cudaGetDevice(&device); error != cudaSuccess) return error;
  if (const auto error =
          cudaDeviceGetAttribute(&processors, cudaDevAttrMultiProcessorCount, device);
      error != cudaSuccess) {
    return error;
  }
  constexpr int kTiles = kMapPixels / kTileRows;
  const int blocks_of_image = attention.images * kTiles <= processors ? kTiles : 1;
  if (const auto error = cudaFuncSetAttribute(
          attend_map_kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, sizeof(Shared));
      error != cudaSuccess) {
    return error;
  }
  return launch_early({.blocks = dim3(static_cast<unsigned>(attention.images * blocks_of_image)),
                       .threads = dim3(kThreads),
                       .shared_bytes = sizeof(Shared),
                       .stream = stream},
                      attend_map_kernel, attention, blocks_of_image);
}

}  // namespace ddpm::cuda
