#include <cstdint>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/conv2d_few_channels_kernels.h"
#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/norm_silu.cuh"
#include "ddpm/kernels/cuda/tensor_core.cuh"

namespace ddpm::cuda {
namespace {

using bf16 = __nv_bfloat16;

constexpr int kWarps = 8, kThreads = kWarps * 32;
constexpr int kSide = 16;         // of a block's tile of pixels
constexpr int kHalo = kSide + 2;  // with one more all around
constexpr int kOut = 8;           // channels, of which some may be zeros
constexpr int kTaps = 9;
constexpr int kVector = 8;
constexpr int kMostChannels = 128;
constexpr int kPad = 8;  // of a row in shared memory, so that banks differ

template <int kChannels>
struct Shared {
  bf16 pixels[kHalo * kHalo][kChannels + kPad];
  bf16 weights[kOut][kTaps * kChannels + kPad];
};

/// Of a warp's rows of 16 pixels, in the layout of mma.m16n8k16.
constexpr int kRows = 4;
using Sums = float[kRows][4];
static_assert(kWarps / 2 * kRows == kSide);

__device__ __forceinline__ int half_of_warp() { return threadIdx.x / 32 / (kWarps / 2); }
__device__ __forceinline__ int first_row_of_warp() {
  return threadIdx.x / 32 % (kWarps / 2) * kRows;
}

/// Where a block's tile begins.
struct TilePlace {
  int64_t image;
  int y, x;
};

template <int kChannels>
__device__ void load_pixels(const FewChannelsConv& conv, const FewChannelsTensors& t,
                            const TilePlace& tile, Shared<kChannels>& shared) {
  constexpr int kVectors = kChannels / kVector, kStride = kThreads / kVectors;
  constexpr int kLoads = 7;  // under way at once
  const int vector = threadIdx.x % kVectors;
  const auto* image = static_cast<const bf16*>(t.x) +
                      tile.image * conv.height * conv.width * kChannels + vector * kVector;
  NormOfEight norm;
  if (t.norm != nullptr) norm.load(t.norm + (tile.image * kChannels + vector * kVector) * 2);
#pragma unroll 1
  for (int begin = threadIdx.x / kVectors; begin < kHalo * kHalo; begin += kLoads * kStride) {
    uint4 values[kLoads];
    uint32_t inside = 0;
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      const int slot = begin + k * kStride;
      const int y = tile.y + slot / kHalo - 1, x = tile.x + slot % kHalo - 1;
      values[k] = {0, 0, 0, 0};
      if (slot < kHalo * kHalo && y >= 0 && y < conv.height && x >= 0 && x < conv.width) {
        inside |= 1U << k;
        values[k] = *reinterpret_cast<const uint4*>(
            image + static_cast<int64_t>(y * conv.width + x) * kChannels);
      }
    }
#pragma unroll
    for (int k = 0; k < kLoads; ++k) {
      const int slot = begin + k * kStride;
      const uint4 taken = t.norm != nullptr ? norm_silu(values[k], norm) : values[k];
      const uint4 value = (inside >> k & 1) != 0 ? taken : values[k];  // zeros stay zeros
      if (slot < kHalo * kHalo) {
        *reinterpret_cast<uint4*>(&shared.pixels[slot][vector * kVector]) = value;
      }
    }
  }
}

template <int kChannels>
__device__ void load_weights(const FewChannelsConv& conv, const bf16* weight,
                             Shared<kChannels>& shared) {
  constexpr int kVectors = kTaps * kChannels / kVector;
  for (int i = threadIdx.x; i < kOut * kVectors; i += kThreads) {
    const int row = i / kVectors, vector = i % kVectors;
    *reinterpret_cast<uint4*>(&shared.weights[row][vector * kVector]) =
        row < conv.out_channels
            ? *reinterpret_cast<const uint4*>(weight + (row * kVectors + vector) * kVector)
            : uint4{0, 0, 0, 0};
  }
}

/// Half of the channels of a warp's rows of 16 pixels, times all taps: each row that comes in is
/// read once for a column of taps.
template <int kChannels>
__device__ void multiply(const Shared<kChannels>& shared, Sums& sums) {
  const int lane = threadIdx.x % 32, first = half_of_warp() * (kChannels / 2);
#pragma unroll 1
  for (int k = first; k < first + kChannels / 2; k += 32) {
    uint32_t b[kTaps][4];  // of two steps
#pragma unroll
    for (int tap = 0; tap < kTaps; ++tap) {
      load_matrices(b[tap],
                    shared_address(&shared.weights[lane % 8][tap * kChannels + k + lane / 8 * 8]));
    }
#pragma unroll
    for (int right = 0; right < 3; ++right) {
#pragma unroll
      for (int from = 0; from < kRows + 2; ++from) {
        const int slot = (first_row_of_warp() + from) * kHalo + lane % 16 + right;
#pragma unroll
        for (int step = 0; step < 2; ++step) {
          uint32_t a[4];
          load_matrices(a, shared_address(&shared.pixels[slot][k + 16 * step + lane / 16 * 8]));
#pragma unroll
          for (int row = 0; row < kRows; ++row) {
            const int down = from - row;
            if (down >= 0 && down < 3) multiply_add(sums[row], a, b[down * 3 + right] + 2 * step);
          }
        }
      }
    }
  }
}

/// The warps of the second half hand their sums to those of the first; true for these.
template <int kChannels>
__device__ bool merge_halves(Shared<kChannels>& shared, Sums& sums) {
  const int lane = threadIdx.x % 32, place = threadIdx.x / 32 % (kWarps / 2) * kRows;
  auto* const memory = reinterpret_cast<float4*>(&shared.pixels[0][0]);
  __syncthreads();  // the pixels have been read
  if (half_of_warp() != 0) {
#pragma unroll
    for (int row = 0; row < kRows; ++row) {
      memory[(place + row) * 32 + lane] = {sums[row][0], sums[row][1], sums[row][2], sums[row][3]};
    }
  }
  __syncthreads();
  if (half_of_warp() != 0) return false;
#pragma unroll
  for (int row = 0; row < kRows; ++row) {
    const float4 more = memory[(place + row) * 32 + lane];
    sums[row][0] += more.x;
    sums[row][1] += more.y;
    sums[row][2] += more.z;
    sums[row][3] += more.w;
  }
  return true;
}

template <int kChannels>
__global__ void __launch_bounds__(kThreads, 2)
    conv_to_pixels_kernel(FewChannelsConv conv, FewChannelsTensors t) {
  extern __shared__ __align__(16) unsigned char memory[];
  auto& shared = *reinterpret_cast<Shared<kChannels>*>(memory);
  let_next_kernel_begin();
  load_weights(conv, static_cast<const bf16*>(t.weight), shared);
  wait_for_previous_kernel();
  const int wide = conv.width / kSide, whole = wide * (conv.height / kSide);
  const int index = static_cast<int>(blockIdx.x);
  const TilePlace tile{index / whole, index % whole / wide * kSide, index % wide * kSide};
  load_pixels(conv, t, tile, shared);
  __syncthreads();
  Sums sums = {};
  multiply(shared, sums);
  if (!merge_halves(shared, sums)) return;
  const int lane = threadIdx.x % 32;
#pragma unroll
  for (int i = 0; i < 4 * kRows; ++i) {
    const int row = i / 4, h = i / 2 % 2, channel = 2 * (lane % 4) + i % 2;
    if (channel >= conv.out_channels) continue;
    const int64_t y = tile.y + first_row_of_warp() + row, x = tile.x + lane / 4 + 8 * h;
    const float bias =
        t.bias == nullptr ? 0.0F : __bfloat162float(static_cast<const bf16*>(t.bias)[channel]);
    static_cast<bf16*>(
        t.out)[((tile.image * conv.height + y) * conv.width + x) * conv.out_channels + channel] =
        __float2bfloat16(sums[row][2 * h + i % 2] + bias);
  }
}

template <int kChannels>
cudaError_t launch(const FewChannelsConv& conv, const FewChannelsTensors& tensors,
                   cudaStream_t stream) {
  constexpr int kBytes = sizeof(Shared<kChannels>);
  if (const auto error = cudaFuncSetAttribute(conv_to_pixels_kernel<kChannels>,
                                              cudaFuncAttributeMaxDynamicSharedMemorySize, kBytes);
      error != cudaSuccess) {
    return error;
  }
  const int tiles = conv.images * (conv.height / kSide) * (conv.width / kSide);
  return launch_early({.blocks = dim3(static_cast<unsigned>(tiles)),
                       .threads = dim3(kThreads),
                       .shared_bytes = kBytes,
                       .stream = stream},
                      conv_to_pixels_kernel<kChannels>, conv, tensors);
}

}  // namespace

bool is_conv2d_to_pixels(const FewChannelsConv& conv) {
  return conv.images > 0 && (conv.channels == 64 || conv.channels == kMostChannels) &&
         conv.out_channels <= kOut && conv.height % kSide == 0 && conv.width % kSide == 0;
}

cudaError_t conv2d_to_pixels(const FewChannelsConv& conv, const FewChannelsTensors& tensors,
                             cudaStream_t stream) {
  return conv.channels == kMostChannels ? launch<kMostChannels>(conv, tensors, stream)
                                        : launch<64>(conv, tensors, stream);
}

}  // namespace ddpm::cuda
