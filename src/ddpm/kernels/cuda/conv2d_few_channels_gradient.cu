#include <algorithm>
#include <cstdint>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/conv2d_few_channels_kernels.h"
#include "ddpm/kernels/cuda/conv2d_gather.cuh"
#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/tensor_core.cuh"

namespace ddpm::cuda {
namespace {

using namespace few_channels;

constexpr int kWide = 128;  // channels of a block
constexpr int kWideRow = kWide + 8;
constexpr int kWarpWide = kWide / kWarps;
constexpr int kMostBlocks = 396;  // three on each of an H100's multiprocessors
constexpr int kSumThreads = 256, kSumRows = kSumThreads / kK;

/// Parts of both maps: one is brought while the other is multiplied.
struct Part {
  bf16 wide[kPixels][kWideRow];
  bf16 taps[kPixels][kRow];
};

__device__ void copy_wide(const FewChannelsGradient& gradient, const bf16* wide, int part,
                          Part& to) {
  constexpr int kVectors = kWide / 8;
  const bf16* const from = wide + static_cast<int64_t>(part) * kPixels * gradient.wide_channels;
#pragma unroll
  for (int i = 0; i < kPixels * kVectors / kThreads; ++i) {
    const int index = static_cast<int>(threadIdx.x) + i * kThreads;
    const int pixel = index / kVectors, channel = index % kVectors * 8;
    copy_async_or_zero(&to.wide[pixel][channel],
                       from + static_cast<int64_t>(pixel) * gradient.wide_channels + channel, true);
  }
}

/// Of a warp's 32 wide channels and all taps, in the layout of mma.m16n8k16.
using Sums = float[2][kK / 8][4];

/// sums += wide^T taps
__device__ void multiply(const Part& part, Sums& sums) {
  const int lane = static_cast<int>(threadIdx.x) % 32;
  const int first = static_cast<int>(threadIdx.x) / 32 * kWarpWide;
#pragma unroll
  for (int pixel = 0; pixel < kPixels; pixel += 16) {
    uint32_t taps[2][4], wide[4];
#pragma unroll
    for (int j = 0; j < 2; ++j) {
      load_turned_matrices(
          taps[j],
          shared_address(&part.taps[pixel + lane / 8 % 2 * 8 + lane % 8][j * 16 + lane / 16 * 8]));
    }
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      load_turned_matrices(
          wide,
          shared_address(
              &part.wide[pixel + lane / 16 * 8 + lane % 8][first + i * 16 + lane / 8 % 2 * 8]));
#pragma unroll
      for (int j = 0; j < kK / 8; ++j) multiply_add(sums[i][j], wide, taps[j / 2] + j % 2 * 2);
    }
  }
}

/// A block for some parts; its sums go to partial [blocks, wide_channels, kK].
__global__ void __launch_bounds__(kThreads)
    gradient_kernel(FewChannelsGradient gradient, const bf16* few, const bf16* wide, int parts,
                    float* partial) {
  __shared__ __align__(16) Part shared[2];
  const int first_wide = static_cast<int>(blockIdx.y) * kWide;
  const int pixels = gradient.height * gradient.width;
  const Tap tap(gradient.channels);
  wait_for_previous_kernel();
  wide += first_wide;
  bf16 values[kOwnPixels];
  const auto bring = [&](int part, Part& to) {
    if (part < parts) {
      copy_wide(gradient, wide, part, to);
      const int image = part / (pixels / kPixels);
      gather_pixels({gradient.height, gradient.width, gradient.channels},
                    few + static_cast<int64_t>(image) * pixels * gradient.channels,
                    part * kPixels - image * pixels, tap, values);
    }
    commit_copies();
  };
  Sums sums{};
  bring(static_cast<int>(blockIdx.x), shared[0]);
  int turn = 0;
  for (int part = static_cast<int>(blockIdx.x); part < parts;
       part += static_cast<int>(gridDim.x), turn ^= 1) {
    put_pixels(values, shared[turn].taps);
    bring(part + static_cast<int>(gridDim.x), shared[turn ^ 1]);
    wait_for_copies<1>();
    __syncthreads();
    multiply(shared[turn], sums);
    __syncthreads();  // before it is written again
  }
  const int lane = static_cast<int>(threadIdx.x) % 32;
  float* const to = partial + (static_cast<int64_t>(blockIdx.x) * gradient.wide_channels +
                               first_wide + static_cast<int>(threadIdx.x) / 32 * kWarpWide) *
                                  kK;
#pragma unroll
  for (int i = 0; i < 2; ++i) {
#pragma unroll
    for (int j = 0; j < kK / 8; ++j) {
#pragma unroll
      for (int half = 0; half < 2; ++half) {
        const int row = i * 16 + half * 8 + lane / 4, column = j * 8 + lane % 4 * 2;
        *reinterpret_cast<float2*>(to + row * kK + column) = {sums[i][j][2 * half],
                                                              sums[i][j][2 * half + 1]};
      }
    }
  }
}

/// A block for a wide channel: adds up what the blocks before have summed, and rounds it.
__global__ void __launch_bounds__(kSumThreads)
    sum_kernel(FewChannelsGradient gradient, int count, const float* partial, bf16* d_weight) {
  __shared__ float rows[kSumRows][kK];
  const int k = static_cast<int>(threadIdx.x) % kK, row = static_cast<int>(threadIdx.x) / kK;
  const int wide = static_cast<int>(blockIdx.x);
  wait_for_previous_kernel();
  float sum = 0;
#pragma unroll 8
  for (int i = row; i < count; i += kSumRows) {
    sum += partial[(static_cast<int64_t>(i) * gradient.wide_channels + wide) * kK + k];
  }
  rows[row][k] = sum;
  __syncthreads();
  if (row != 0 || k >= kTaps * gradient.channels) return;
  for (int i = 1; i < kSumRows; ++i) sum += rows[i][k];
  const int tap = k / gradient.channels, channel = k % gradient.channels;
  const int at = gradient.to_pixels
                     ? (channel * kTaps + kTaps - 1 - tap) * gradient.wide_channels + wide
                     : wide * kTaps * gradient.channels + k;
  d_weight[at] = __float2bfloat16_rn(sum);
}

int parts_of(const FewChannelsGradient& gradient) {
  return gradient.images * (gradient.height * gradient.width / kPixels);
}
int blocks_of(const FewChannelsGradient& gradient) {
  return std::min(parts_of(gradient), kMostBlocks);
}

}  // namespace

bool is_conv2d_few_channels_gradient(const FewChannelsGradient& gradient) {
  return gradient.images > 0 && gradient.channels > 0 && gradient.channels <= kMostChannels &&
         gradient.wide_channels > 0 && gradient.wide_channels % kWide == 0 &&
         gradient.height * gradient.width % kPixels == 0 && gradient.width >= kLeastWidth;
}

int64_t conv2d_few_channels_gradient_scratch(const FewChannelsGradient& gradient) {
  return static_cast<int64_t>(blocks_of(gradient)) * gradient.wide_channels * kK;
}

cudaError_t conv2d_few_channels_gradient(const FewChannelsGradient& gradient, const void* few,
                                         const void* wide, float* scratch, void* d_weight,
                                         cudaStream_t stream) {
  const int blocks = blocks_of(gradient);
  const cudaError_t launched =
      launch_early({.blocks = dim3(static_cast<unsigned>(blocks),
                                   static_cast<unsigned>(gradient.wide_channels / kWide)),
                    .threads = dim3(kThreads),
                    .shared_bytes = 0,
                    .stream = stream},
                   gradient_kernel, gradient, static_cast<const bf16*>(few),
                   static_cast<const bf16*>(wide), parts_of(gradient), scratch);
  if (launched != cudaSuccess) return launched;
  return launch_early({.blocks = dim3(static_cast<unsigned>(gradient.wide_channels)),
                       .threads = dim3(kSumThreads),
                       .shared_bytes = 0,
                       .stream = stream},
                      sum_kernel, gradient, blocks, scratch, static_cast<bf16*>(d_weight));
}

}  // namespace ddpm::cuda
