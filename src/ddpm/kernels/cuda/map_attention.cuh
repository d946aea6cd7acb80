#pragma once

#include <cstdint>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/map_attention_kernels.h"
#include "ddpm/kernels/cuda/norm_silu.cuh"
#include "ddpm/kernels/cuda/warpgroup.cuh"

// What map_attention.cu keeps in shared memory and in registers, and the products between them.
namespace ddpm::cuda::map_attention {

using bf16 = __nv_bfloat16;

constexpr int kGroups = 2;
constexpr int kMultipliers = kGroups * kGroupThreads, kThreads = kMultipliers + kGroupThreads;
constexpr int kFeederRegisters = 24, kMultiplierRegisters = 240;
constexpr int kGroupRows = 64, kTileRows = kGroups * kGroupRows;  // pixels whose queries are one's
constexpr int kHalf = 128;                                        // columns of a product
constexpr int kHalves = kMapChannels / kHalf;
constexpr int kPart = 8;  // channels of 16 bytes
constexpr int kPlanes = kMapChannels / kPart;
constexpr int kPlaneSlots = kMapPixels + 1;  // so that planes differ in their banks
constexpr int kStepK = 16;                   // of a product
constexpr int kChunk = 32;  // rows of a weight that stand in shared memory together
constexpr int kChunks = kMapChannels / kChunk;
constexpr int kHalfBytes = kChunk * kHalf * 2;
constexpr int kStages = 4;
constexpr int kWarps = kGroupThreads / kWarpThreads;
constexpr int kWarpRows = kGroupRows / kWarps;
constexpr int kColumns = 64;  // of the result that a warp writes together
constexpr int kBlocks = kMapChannels / kColumns;
constexpr int kRowBytes = kColumns * 2 + 16;  // so that rows differ in their banks
static_assert(kMapPixels == kMapChannels, "a row of scores is as long as one of the map");

constexpr float kScoreScale = 1.0F / 16;  // 1 / sqrt(kMapChannels)
static_assert(kMapChannels == 16 * 16);

/// The rows of a warp, columns by columns on their way between registers and memory.
using WarpRows = unsigned char[kWarpRows][kRowBytes];

struct Shared {
  uint4 pixels[kPlanes][kPlaneSlots];  // normalised
  unsigned char weights[kStages][kHalves * kHalfBytes];
  union {
    WarpRows rows;
    float4 sums[kBlocks][kColumns / 2];  // of two columns: of values and of squares, by turns
  } result[kGroups][kWarps];
  float score_bias[kMapChannels], out_bias[kMapChannels];
  uint64_t full[kStages], empty[kStages];
};

/// Of a group's rows: what multiply_64x128() sums up, for each half of the columns.
using Sums = float[kHalves][64];
/// The same as the left side of products: k steps of 16 columns.
using Rows = uint32_t[kMapChannels / kStepK][4];

/// Where the map's pixels stand: from `channel` (a multiple of 8) and `pixel` (of 8) on.
__device__ __forceinline__ uint32_t pixels_at(const Shared& shared, int channel, int pixel) {
  return shared_address(&shared.pixels[channel / kPart][pixel]);
}
constexpr uint32_t kPlaneBytes = kPlaneSlots * 16, kEightPixels = 8 * 16;

/// The products of rows with all pixels: scores.
__device__ __forceinline__ void multiply_with_pixels(Sums& sums, const Rows& rows,
                                                     const Shared& shared) {
  const uint64_t matrix = describe_matrix(kPlaneBytes, kEightPixels);
  begin_products();
#pragma unroll
  for (int k = 0; k < kMapChannels / kStepK; ++k) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      multiply_rows<false>(sums[half], rows[k],
                           matrix_at(matrix, pixels_at(shared, k * kStepK, half * kHalf)), k > 0);
    }
  }
  commit_products();
  wait_for_products<0>();
}

/// The sums of all pixels, weighted by rows.
__device__ __forceinline__ void sum_pixels(Sums& sums, const Rows& rows, const Shared& shared) {
  const uint64_t matrix = describe_matrix(kEightPixels, kPlaneBytes);
  begin_products();
#pragma unroll
  for (int k = 0; k < kMapPixels / kStepK; ++k) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
      multiply_rows<true>(sums[half], rows[k],
                          matrix_at(matrix, pixels_at(shared, half * kHalf, k * kStepK)), k > 0);
    }
  }
  commit_products();
  wait_for_products<0>();
}

/// rows = f(column, sum) rounded, where h is 0 for the first of a thread's two rows.
template <typename F>
__device__ __forceinline__ void round_rows(Rows& rows, const Sums& sums, const F& f) {
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
#pragma unroll
    for (int j = 0; j < kHalf / 8; ++j) {
      const int column = half * kHalf + 8 * j + 2 * (static_cast<int>(threadIdx.x) % 4);
#pragma unroll
      for (int h = 0; h < 2; ++h) {
        const __nv_bfloat162 pair =
            __floats2bfloat162_rn(f(column, h, sums[half][4 * j + 2 * h]),
                                  f(column + 1, h, sums[half][4 * j + 2 * h + 1]));
        rows[half * (kHalf / kStepK) + j / 2][j % 2 * 2 + h] =
            *reinterpret_cast<const uint32_t*>(&pair);
      }
    }
  }
}

/// Over the four lanes that have a row.
template <typename F>
__device__ __forceinline__ float merge_lanes(float value, const F& f) {
  value = f(value, __shfl_xor_sync(~0U, value, 1));
  return f(value, __shfl_xor_sync(~0U, value, 2));
}

/// rows = softmax(scores / sqrt(kMapChannels)) of each row. The scores are lost.
__device__ __forceinline__ void softmax_of(Rows& rows, Sums& scores) {
  constexpr float kScale = 1.4426950408889634F * kScoreScale;  // log2(e)
  float largest[2] = {-INFINITY, -INFINITY}, factor[2] = {};
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      largest[i / 2 % 2] = fmaxf(largest[i / 2 % 2], scores[half][i]);
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    largest[h] = kScale * merge_lanes(largest[h], [](float a, float b) { return fmaxf(a, b); });
  }
#pragma unroll
  for (int half = 0; half < kHalves; ++half) {
#pragma unroll
    for (int i = 0; i < 64; ++i) {
      const int h = i / 2 % 2;
      scores[half][i] = exp2_fast(fmaf(scores[half][i], kScale, -largest[h]));
      factor[h] += scores[half][i];
    }
  }
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    factor[h] = 1 / merge_lanes(factor[h], [](float a, float b) { return a + b; });
  }
  round_rows(rows, scores, [&](int, int h, float e) { return e * factor[h]; });
}

/// The gradient of scores: probabilities = d_scores, where sums are the probabilities' gradient.
__device__ __forceinline__ void softmax_gradient(Rows& probabilities, const Sums& sums) {
  float total[2] = {};
  const auto each = [&](const auto& f) {
#pragma unroll
    for (int half = 0; half < kHalves; ++half) {
#pragma unroll
      for (int j = 0; j < kHalf / 8; ++j) {
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          uint32_t& pair = probabilities[half * (kHalf / kStepK) + j / 2][j % 2 * 2 + h];
          asm volatile("" : "+r"(pair));  // unpacked twice: there are no registers for both
          f(h, pair, __bfloat1622float2(reinterpret_cast<const __nv_bfloat162&>(pair)),
            &sums[half][4 * j + 2 * h]);
        }
      }
    }
  };
  each([&](int h, uint32_t&, float2 p, const float* d_p) {
    total[h] += p.x * d_p[0] + p.y * d_p[1];
  });
#pragma unroll
  for (int h = 0; h < 2; ++h) {
    total[h] = merge_lanes(total[h], [](float a, float b) { return a + b; });
  }
  each([&](int h, uint32_t& pair, float2 p, const float* d_p) {
    const __nv_bfloat162 d_scores = __floats2bfloat162_rn(kScoreScale * p.x * (d_p[0] - total[h]),
                                                          kScoreScale * p.y * (d_p[1] - total[h]));
    pair = reinterpret_cast<const uint32_t&>(d_scores);
  });
}

}  // namespace ddpm::cuda::map_attention
