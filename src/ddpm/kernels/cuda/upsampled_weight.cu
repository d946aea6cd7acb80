#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/upsampled_weight_kernels.h"
#include "ddpm/kernels/cuda/vector_types.cuh"

namespace ddpm::cuda {
namespace {

using bf16 = __nv_bfloat16;

constexpr int kSquare = 16;  // channels of either kind that a block takes
constexpr int kThreads = 256;
constexpr int kSide = 3, kTaps = kSide * kSide;  // of the weight
constexpr int kWideSide = 4, kWideTaps = kWideSide * kWideSide;
constexpr int kVectors = kSquare / kVector;

/// The taps of 3 that tap k of 4 is the sum of: first_tap(k) and, for the inner ones, the next.
__device__ constexpr int first_tap(int k) { return k < 2 ? 2 - k : 0; }
__device__ constexpr int count_taps(int k) { return k == 1 || k == 2 ? 2 : 1; }

/// Of weights [tap][out][in] in shared memory; rows are padded.
using TapRows = bf16[kTaps][kSquare][kSquare + kVector];

__device__ void load_taps(const UpsampledWeightShape& shape, int first_out, int first_in,
                          const bf16* weight, TapRows& rows) {
  for (int i = static_cast<int>(threadIdx.x); i < kSquare * kTaps * kVectors; i += kThreads) {
    const int part = i % kVectors, tap = i / kVectors % kTaps, out = i / kVectors / kTaps;
    const int64_t row = static_cast<int64_t>(first_out + out) * kTaps + tap;
    store_packed(&rows[tap][out][part * kVector],
                 load_packed(weight + row * shape.in_channels + first_in + part * kVector));
  }
}

/// Tap (k, l) of 4x4, by `value_of` the weight's tap.
template <typename ValueOf>
__device__ float wide_tap(int k, int l, const ValueOf& value_of) {
  float sum = 0;
  for (int t = first_tap(k); t < first_tap(k) + count_taps(k); ++t) {
    for (int s = first_tap(l); s < first_tap(l) + count_taps(l); ++s) {
      sum += value_of(t * kSide + s);
    }
  }
  return sum;
}

__device__ void write_phases(const UpsampledWeightShape& shape, int first_out, int first_in,
                             const TapRows& rows, bf16* phases) {
  for (int i = static_cast<int>(threadIdx.x); i < kWideTaps * kSquare * kVectors; i += kThreads) {
    const int part = i % kVectors, out = i / kVectors % kSquare;
    const int of_phase = i / kVectors / kSquare % 4, phase = i / kVectors / kSquare / 4;
    const int k = 3 - phase / 2 - of_phase / 2 * 2, l = 3 - phase % 2 - of_phase % 2 * 2;
    float sums[kVector];
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      sums[c] = wide_tap(
          k, l, [&](int tap) { return __bfloat162float(rows[tap][out][part * kVector + c]); });
    }
    const int64_t row =
        (static_cast<int64_t>(phase) * shape.out_channels + first_out + out) * 4 + of_phase;
    store_vector(phases + row * shape.in_channels + first_in + part * kVector, sums);
  }
}

__device__ void write_wide_taps(const UpsampledWeightShape& shape, int first_out, int first_in,
                                const TapRows& rows, bf16* taps) {
  for (int i = static_cast<int>(threadIdx.x); i < kWideTaps * kSquare * kVectors; i += kThreads) {
    const int in = i % kSquare, part = i / kSquare % kVectors, tap = i / kSquare / kVectors;
    float sums[kVector];
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      sums[c] = wide_tap(tap / kWideSide, tap % kWideSide,
                         [&](int t) { return __bfloat162float(rows[t][part * kVector + c][in]); });
    }
    const int64_t row = static_cast<int64_t>(first_in + in) * kWideTaps + tap;
    store_vector(taps + row * shape.out_channels + first_out + part * kVector, sums);
  }
}

/// It writes weights, so it lets no kernel begin (early_launch.cuh).
__global__ void __launch_bounds__(kThreads)
    expand_kernel(UpsampledWeightShape shape, const bf16* weight, bf16* phases, bf16* taps) {
  __shared__ __align__(16) TapRows rows;
  const int first_out = static_cast<int>(blockIdx.x) * kSquare;
  const int first_in = static_cast<int>(blockIdx.y) * kSquare;
  wait_for_previous_kernel();
  load_taps(shape, first_out, first_in, weight, rows);
  __syncthreads();
  write_phases(shape, first_out, first_in, rows, phases);
  write_wide_taps(shape, first_out, first_in, rows, taps);
}

/// A thread's sums of one (in, out) pair, by the weight's tap.
__device__ void add_wide_taps(const UpsampledWeightShape& shape, const TapGradients& d_taps,
                              int out, int in, float (&sums)[kTaps]) {
  for (int part = 0; part < d_taps.count; ++part) {
    const bf16* const from = static_cast<const bf16*>(d_taps.parts[part]) +
                             static_cast<int64_t>(in) * kWideTaps * shape.out_channels + out;
#pragma unroll
    for (int tap = 0; tap < kWideTaps; ++tap) {
      const float value = __bfloat162float(from[static_cast<int64_t>(tap) * shape.out_channels]);
      const int k = tap / kWideSide, l = tap % kWideSide;
#pragma unroll
      for (int t = first_tap(k); t < first_tap(k) + count_taps(k); ++t) {
#pragma unroll
        for (int s = first_tap(l); s < first_tap(l) + count_taps(l); ++s) {
          sums[t * kSide + s] += value;
        }
      }
    }
  }
}

__global__ void __launch_bounds__(kThreads)
    collapse_kernel(UpsampledWeightShape shape, TapGradients d_taps, bf16* d_weight) {
  __shared__ __align__(16) TapRows rows;
  const int first_out = static_cast<int>(blockIdx.x) * kSquare;
  const int first_in = static_cast<int>(blockIdx.y) * kSquare;
  const int out = static_cast<int>(threadIdx.x) % kSquare;
  wait_for_previous_kernel();
  for (int in = static_cast<int>(threadIdx.x) / kSquare; in < kSquare; in += kThreads / kSquare) {
    float sums[kTaps] = {};
    add_wide_taps(shape, d_taps, first_out + out, first_in + in, sums);
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) rows[tap][out][in] = __float2bfloat16_rn(sums[tap]);
  }
  __syncthreads();
  for (int i = static_cast<int>(threadIdx.x); i < kSquare * kTaps * kVectors; i += kThreads) {
    const int part = i % kVectors, tap = i / kVectors % kTaps, row = i / kVectors / kTaps;
    const int64_t to = static_cast<int64_t>(first_out + row) * kTaps + tap;
    store_packed(d_weight + to * shape.in_channels + first_in + part * kVector,
                 load_packed(&rows[tap][row][part * kVector]));
  }
}

EarlyLaunch launch_of(const UpsampledWeightShape& shape, cudaStream_t stream) {
  return {.blocks = dim3(static_cast<unsigned>(shape.out_channels / kSquare),
                         static_cast<unsigned>(shape.in_channels / kSquare)),
          .threads = dim3(kThreads),
          .shared_bytes = 0,
          .stream = stream};
}

}  // namespace

cudaError_t expand_upsampled_weight(const UpsampledWeightShape& shape, const void* weight,
                                    void* phases, void* taps, cudaStream_t stream) {
  return launch_early(launch_of(shape, stream), expand_kernel, shape,
                      static_cast<const bf16*>(weight), static_cast<bf16*>(phases),
                      static_cast<bf16*>(taps));
}

cudaError_t collapse_tap_gradients(const UpsampledWeightShape& shape, const TapGradients& d_taps,
                                   void* d_weight, cudaStream_t stream) {
  return launch_early(launch_of(shape, stream), collapse_kernel, shape, d_taps,
                      static_cast<bf16*>(d_weight));
}

}  // namespace ddpm::cuda
