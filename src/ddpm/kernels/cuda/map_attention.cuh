#pragma once

#include <cstdint>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/map_attention_kernels.h"
#include "ddpm/kernels/cuda/warpgroup.cuh"

// What map_attention.cu keeps in shared memory and in registers, and the products between them.
namespace ddpm::cuda::map_attention {

using bf16 = __nv_bfloat16;

constexpr int kWarpThreads = 32, kGroupThreads = 128, kGroups = 2;
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

/// sums [64, 128] += a [64, 16] b, where a is the warpgroup's own and b [128, 16]^T, or [16, 128]
/// where kTransposed, stands in shared memory.
template <bool kTransposed>
__device__ __forceinline__ void multiply_rows(float (&s)[64], const uint32_t (&a)[4], uint64_t b,
                                              bool add) {
  asm volatile(
      "{\n"
      ".reg .pred add;\n"
      "setp.ne.b32 add, %69, 0;\n"
      "wgmma.mma_async.sync.aligned.m64n128k16.f32.bf16.bf16 "
      "{%0, %1, %2, %3, %4, %5, %6, %7, %8, %9, %10, %11, %12, %13, %14, %15, "
      "%16, %17, %18, %19, %20, %21, %22, %23, %24, %25, %26, %27, %28, %29, %30, %31, "
      "%32, %33, %34, %35, %36, %37, %38, %39, %40, %41, %42, %43, %44, %45, %46, %47, "
      "%48, %49, %50, %51, %52, %53, %54, %55, %56, %57, %58, %59, %60, %61, %62, %63}, "
      "{%64, %65, %66, %67}, %68, add, 1, 1, %70;\n"
      "}\n"
      : "+f"(s[0]), "+f"(s[1]), "+f"(s[2]), "+f"(s[3]), "+f"(s[4]), "+f"(s[5]), "+f"(s[6]),
        "+f"(s[7]), "+f"(s[8]), "+f"(s[9]), "+f"(s[10]), "+f"(s[11]), "+f"(s[12]), "+f"(s[13]),
        "+f"(s[14]), "+f"(s[15]), "+f"(s[16]), "+f"(s[17]), "+f"(s[18]), "+f"(s[19]), "+f"(s[20]),
        "+f"(s[21]), "+f"(s[22]), "+f"(s[23]), "+f"(s[24]), "+f"(s[25]), "+f"(s[26]), "+f"(s[27]),
        "+f"(s[28]), "+f"(s[29]), "+f"(s[30]), "+f"(s[31]), "+f"(s[32]), "+f"(s[33]), "+f"(s[34]),
        "+f"(s[35]), "+f"(s[36]), "+f"(s[37]), "+f"(s[38]), "+f"(s[39]), "+f"(s[40]), "+f"(s[41]),
        "+f"(s[42]), "+f"(s[43]), "+f"(s[44]), "+f"(s[45]), "+f"(s[46]), "+f"(s[47]), "+f"(s[48]),
        "+f"(s[49]), "+f"(s[50]), "+f"(s[51]), "+f"(s[52]), "+f"(s[53]), "+f"(s[54]), "+f"(s[55]),
        "+f"(s[56]), "+f"(s[57]), "+f"(s[58]), "+f"(s[59]), "+f"(s[60]), "+f"(s[61]), "+f"(s[62]),
        "+f"(s[63])
      : "r"(a[0]), "r"(a[1]), "r"(a[2]), "r"(a[3]), "l"(b), "r"(static_cast<int>(add)),
        "n"(kTransposed ? 1 : 0));
}

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

__device__ __forceinline__ float exp2_of(float x) {
  float y;
  asm("ex2.approx.ftz.f32 %0, %1;" : "=f"(y) : "f"(x));
  return y;
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
      scores[half][i] = exp2_of(fmaf(scores[half][i], kScale, -largest[h]));
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
