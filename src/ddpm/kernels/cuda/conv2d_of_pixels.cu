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

// Channels of a block: where there are few parts of the map, more blocks with fewer.
constexpr int kMostOut = 128, kFewOut = 32;
constexpr int kVector = 8;
constexpr int kBlocksAtOnce = 6;  // of a multiprocessor

template <int kOut>
struct Shared {
  static constexpr int kColumns = kOut < 64 ? kOut : 64;  // of a product: fewer registers
  using Sums = float[kColumns / 8][4];
  bf16 pixels[kPixels][kRow];
  bf16 weights[kOut][kRow];
  bf16 result[kPixels][kOut + 8];
  float2 bias[kOut / 2];
};

template <int kOut>
__device__ void load_weights(const FewChannelsConv& conv, const bf16* weight,
                             Shared<kOut>& shared) {
  const int k = static_cast<int>(threadIdx.x) % kK, own = kTaps * conv.channels;
#pragma unroll 8
  for (int row = threadIdx.x / kK; row < kOut; row += kWarps) {
    shared.weights[row][k] = k < own ? weight[row * own + k] : bf16(0.0F);
  }
}

/// A thread for a channel that goes out.
template <int kOut>
__device__ void load_turned_weights(const FewChannelsConv& conv, const bf16* weight,
                                    Shared<kOut>& shared) {
  if (threadIdx.x >= kOut) return;
#pragma unroll 8
  for (int k = 0; k < kK; ++k) {
    const int tap = k / conv.channels, channel = k % conv.channels;
    shared.weights[threadIdx.x][k] =
        tap < kTaps ? weight[(channel * kTaps + kTaps - 1 - tap) * conv.out_channels + threadIdx.x]
                    : bf16(0.0F);
  }
}

/// sums [16, columns] of a warp's pixels, from channel `first` on.
template <int kOut>
__device__ void multiply(const Shared<kOut>& shared, int first, typename Shared<kOut>::Sums& sums) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int k = 0; k < kK; k += 16) {
    uint32_t a[4];
    load_matrices(a, shared_address(&shared.pixels[warp * 16 + lane % 16][k + lane / 16 * 8]));
#pragma unroll
    for (int j = 0; j < Shared<kOut>::kColumns / 8; j += 2) {
      uint32_t b[4];  // of 16 columns
      load_matrices(
          b, shared_address(
                 &shared.weights[first + 8 * j + lane / 16 * 8 + lane % 8][k + lane / 8 % 2 * 8]));
      multiply_add(sums[j], a, b);
      multiply_add(sums[j + 1], a, b + 2);
    }
  }
}

template <int kOut>
__device__ void load_bias(const bf16* bias, Shared<kOut>& shared) {
  if (threadIdx.x >= kOut / 2) return;
  float2 two{0, 0};
  if (bias != nullptr) {
    two = __bfloat1622float2(reinterpret_cast<const __nv_bfloat162*>(bias)[threadIdx.x]);
  }
  shared.bias[threadIdx.x] = two;
}

template <int kOut>
__device__ void keep_result(const typename Shared<kOut>::Sums& sums, int first,
                            Shared<kOut>& shared) {
  const int warp = threadIdx.x / 32, lane = threadIdx.x % 32;
#pragma unroll
  for (int j = 0; j < Shared<kOut>::kColumns / 8; ++j) {
    const int column = first + 8 * j + 2 * (lane % 4);
    const float2 added = shared.bias[column / 2];
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      *reinterpret_cast<__nv_bfloat162*>(&shared.result[warp * 16 + lane / 4 + 8 * h][column]) =
          __floats2bfloat162_rn(sums[j][2 * h] + added.x, sums[j][2 * h + 1] + added.y);
    }
  }
}

/// Writes a part, and its sums where they are wanted.
template <int kOut>
__device__ void send_result(const FewChannelsConv& conv, const FewChannelsTensors& t, int64_t part,
                            int out, const Shared<kOut>& shared) {
  auto* to = static_cast<bf16*>(t.out) + part * kPixels * conv.out_channels + out;
#pragma unroll
  for (int i = threadIdx.x; i < kPixels * kOut / kVector; i += kThreads) {
    const int pixel = i / (kOut / kVector), channel = i % (kOut / kVector) * kVector;
    *reinterpret_cast<uint4*>(to + static_cast<int64_t>(pixel) * conv.out_channels + channel) =
        *reinterpret_cast<const uint4*>(&shared.result[pixel][channel]);
  }
  if (t.sums == nullptr || threadIdx.x >= kOut) return;
  float sum = 0, squares = 0;
#pragma unroll 16
  for (int pixel = 0; pixel < kPixels; ++pixel) {
    const float value = __bfloat162float(shared.result[pixel][threadIdx.x]);
    sum += value;
    squares = fmaf(value, value, squares);
  }
  reinterpret_cast<float2*>(t.sums)[part * conv.out_channels + out + threadIdx.x] = {sum, squares};
}

/// A block for some parts.
template <int kOut>
__global__ void __launch_bounds__(kThreads, kBlocksAtOnce)
    conv_of_pixels_kernel(FewChannelsConv conv, FewChannelsTensors t, int parts) {
  __shared__ Shared<kOut> shared;
  let_next_kernel_begin();
  const int pixels = conv.height * conv.width, out = blockIdx.y * kOut;
  const auto* weight = static_cast<const bf16*>(t.weight);
  if (conv.turned) {
    load_turned_weights(conv, weight + out, shared);
  } else {
    load_weights(conv, weight + out * kTaps * conv.channels, shared);
  }
  load_bias(t.bias == nullptr ? nullptr : static_cast<const bf16*>(t.bias) + out, shared);
  const Tap tap(conv.channels);
  wait_for_previous_kernel();
  bf16 values[kOwnPixels];
  const auto gather = [&](int part) {  // on their way while the part before is multiplied
    const int image = part / (pixels / kPixels);
    const auto* from =
        static_cast<const bf16*>(t.x) + static_cast<int64_t>(image) * pixels * conv.channels;
    if (part < parts)
      gather_pixels({conv.height, conv.width, conv.channels}, from, part * kPixels - image * pixels,
                    tap, values);
  };
  gather(static_cast<int>(blockIdx.x));
  for (int part = blockIdx.x; part < parts; part += gridDim.x) {
    put_pixels(values, shared.pixels);
    __syncthreads();
    gather(part + static_cast<int>(gridDim.x));
#pragma unroll 1
    for (int first = 0; first < kOut; first += Shared<kOut>::kColumns) {
      typename Shared<kOut>::Sums sums = {};
      multiply(shared, first, sums);
      keep_result(sums, first, shared);
    }
    __syncthreads();
    send_result(conv, t, part, out, shared);
    __syncthreads();
  }
}

static_assert(kThreads >= kMostOut);

template <int kOut>
cudaError_t launch(const FewChannelsConv& conv, const FewChannelsTensors& tensors, int parts,
                   int most_blocks, cudaStream_t stream) {
  return launch_early({.blocks = dim3(static_cast<unsigned>(std::min(parts, most_blocks)),
                                      static_cast<unsigned>(conv.out_channels / kOut)),
                       .threads = dim3(kThreads),
                       .shared_bytes = 0,
                       .stream = stream},
                      conv_of_pixels_kernel<kOut>, conv, tensors, parts);
}

}  // namespace

bool is_conv2d_of_pixels(const FewChannelsConv& conv) {
  return conv.images > 0 && conv.channels > 0 && conv.channels <= kMostChannels &&
         conv.out_channels % kMostOut == 0 && conv.height * conv.width % kPixels == 0 &&
         conv.width >= kLeastWidth;
}

cudaError_t conv2d_of_pixels(const FewChannelsConv& conv, const FewChannelsTensors& tensors,
                             cudaStream_t stream) {
  constexpr int kProcessors = 132, kMostBlocks = kProcessors * kBlocksAtOnce;
  const int parts = conv.images * (conv.height * conv.width / kPixels);
  return parts * (conv.out_channels / kFewOut) <= kProcessors
             ? launch<kFewOut>(conv, tensors, parts, kMostBlocks, stream)
             : launch<kMostOut>(conv, tensors, parts, kMostBlocks, stream);
}

}  // namespace ddpm::cuda
