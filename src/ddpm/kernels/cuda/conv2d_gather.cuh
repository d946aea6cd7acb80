#pragma once

#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/conv2d_few_channels_kernels.h"

// How a block gathers what the taps of a 3x3 convolution see of a map with few channels: a lane for
// each tap and channel.
namespace ddpm::cuda::few_channels {

using bf16 = __nv_bfloat16;

constexpr int kWarps = 4, kThreads = kWarps * 32;
constexpr int kPixels = 64;  // of a part
constexpr int kTaps = 9;
constexpr int kK = 32;        // taps times channels, and zeros
constexpr int kRow = kK + 8;  // of a matrix in shared memory, so that banks differ
constexpr int kMostChannels = kK / kTaps;
constexpr int kLeastWidth = kWarps;  // of a map

/// Of a map [height, width, channels].
struct Sides {
  int height, width, channels;
};

/// What a lane gathers: the same tap and channel of every pixel.
struct Tap {
  int down, right, channel;
  bool is_one;  // lanes behind the last have zeros

  __device__ explicit Tap(int channels) {
    const int k = static_cast<int>(threadIdx.x) % kK, tap = k / channels;
    down = tap / 3 - 1;
    right = tap % 3 - 1;
    channel = k % channels;
    is_one = k < kTaps * channels;
  }
};

constexpr int kOwnPixels = kPixels / kWarps;  // of a lane

/// Whatever the lane's tap sees of a part's pixels, in a map at least kLeastWidth wide.
inline __device__ void gather_pixels(const Sides& map, const bf16* image, int first, const Tap& tap,
                                     bf16 (&values)[kOwnPixels]) {
  const int pixel = first + static_cast<int>(threadIdx.x) / kK;
  const int above = pixel + tap.down * map.width;  // or below: the seen pixel but for its column
  int x = pixel % map.width + tap.right;
  const auto pixels = static_cast<unsigned>(tap.is_one ? map.height * map.width : 0);
  const bf16* const from = image + (above + tap.right) * map.channels + tap.channel;
#pragma unroll
  for (int i = 0; i < kOwnPixels; ++i) {
    const bool is_inside = static_cast<unsigned>(above + i * kWarps) < pixels &&
                           static_cast<unsigned>(x) < static_cast<unsigned>(map.width);
    values[i] = bf16(0.0F);
    if (is_inside) values[i] = from[i * kWarps * map.channels];
    x += kWarps;
    if (x >= map.width + tap.right) x -= map.width;
  }
}

/// Puts them where matrices are read.
inline __device__ void put_pixels(const bf16 (&values)[kOwnPixels], bf16 (&rows)[kPixels][kRow]) {
#pragma unroll
  for (int i = 0; i < kOwnPixels; ++i) {
    rows[i * kWarps + threadIdx.x / kK][threadIdx.x % kK] = values[i];
  }
}

}  // namespace ddpm::cuda::few_channels
