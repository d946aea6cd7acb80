#pragma once

#include <cstdint>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/conv2d_warpgroup_kernels.h"
#include "ddpm/kernels/cuda/warpgroup.cuh"

// What the warps of conv2d_warpgroup.cu share: how the work is cut into tiles, and how a tile's
// pixels, weights and result lie in shared memory.
namespace ddpm::cuda::warpgroup {

using bf16 = __nv_bfloat16;

constexpr int kWarpThreads = 32, kGroupThreads = 128, kGroups = 4, kFeeders = 2;
constexpr int kPatchPixels = 64;  // a patch of 8 x 8
constexpr int kOut = 128;         // of a tile
constexpr int kChunk = 32;        // channels that stand in shared memory together
constexpr int kPart = 8;          // channels of 16 bytes
constexpr int kParts = kChunk / kPart;
constexpr int kStepK = 16;    // channels of a product
constexpr int kMostTaps = 3;  // of a row of the kernel, which is a stage of weights
constexpr int kPixelStages = 4, kWeightStages = 3;
constexpr int kTapBytes = kChunk * kOut * 2;
constexpr int kRowBytes = kOut * 2 + 16;  // of the result in shared memory, so that banks differ
constexpr int kProducerRegisters = 72, kConsumerRegisters = 184;
constexpr int kPixelThreads = 224, kPixelStride = kPixelThreads / kParts;
constexpr int kPixelWarps = kPixelThreads / kWarpThreads;
constexpr int kMultiplierWarps = 8;

/// What a kernel is compiled for: maps of 8x8, or larger ones; 3 taps a side, or 2 of one of the
/// four phases that an upsampled map's convolution has; how many blocks share a tile's chunks; how
/// many patches each of the two multiplying groups has.
template <bool kIsSmall, int kTapsOfSide, int kBlocksOfTile, int kPatchesOfGroup = 2>
struct FormOf {
  static constexpr bool kSmall = kIsSmall;
  static constexpr int kTaps = kTapsOfSide, kSplit = kBlocksOfTile;
  static constexpr bool kPhases = kTaps == 2;
  static constexpr int kGroupPatches = kPatchesOfGroup, kPatches = 2 * kGroupPatches;  // of a tile
  static constexpr int kPixels = kPatches * kPatchPixels;
  static constexpr bool kManyTiles = kSplit == 1;  // of a block, one after the other
  static_assert(kSmall || kPatches == 4);
  static_assert(kPatches % kSplit == 0);
};

/// How a tile's pixels with their borders lie in shared memory: slot by slot, 16 bytes of each in
/// each of the kParts planes. Six more than a multiple of eight slots spread the planes over the
/// banks.
template <typename Form, bool kSmall = Form::kSmall>
struct Halo;
template <typename Form>
struct Halo<Form, false> {  // 16 x 16 pixels of one image, all around them one more
  static constexpr int kPitch = 18, kSlots = 326;
  static __device__ int patch(int p) { return (p >> 1) * 8 * kPitch + (p & 1) * 8; }
};
template <typename Form>
struct Halo<Form, true> {  // images of 8 x 8, a row and a column of zeros between them
  static constexpr int kPitch = 9;
  static constexpr int kUsed = (Form::kPatches * 9 + 1) * kPitch + 1;
  static constexpr int kSlots = (kUsed + 1) / 8 * 8 + 6;
  static_assert(kSlots >= kUsed && kSlots % 8 == 6);
  static __device__ int patch(int p) { return p * 9 * kPitch; }
};

template <typename Form>
struct Shared {
  uint4 pixels[kPixelStages][kParts][Halo<Form>::kSlots];
  unsigned char weights[kWeightStages][kMostTaps * kTapBytes];
  unsigned char result[Form::kPixels][kRowBytes];
  uint64_t pixels_full[kPixelStages], pixels_empty[kPixelStages];
  uint64_t weights_full[kWeightStages], weights_empty[kWeightStages];
  uint64_t result_full;     // there is room for a tile's result, and its residual stands in it
  uint64_t result_written;  // by the multipliers
};

template <int kStages>
struct Ring {
  int stage = 0;
  uint32_t phase = 0;
  __device__ void advance() {
    if (++stage == kStages) {
      stage = 0;
      phase ^= 1;
    }
  }
};

/// n / divisor for n < 2^31 without a division: [Granlund and Montgomery 1994, Fig. 4.1].
struct Divisor {
  uint32_t divisor, multiplier;
  int shift;

  explicit Divisor(int d) : divisor(static_cast<uint32_t>(d)), shift(0) {
    while ((uint64_t{1} << shift) < divisor) ++shift;
    multiplier = static_cast<uint32_t>(
        ((uint64_t{1} << 32) * ((uint64_t{1} << shift) - divisor)) / divisor + 1);
  }
  __device__ int divide(int n) const {
    return static_cast<int>(
        (__umulhi(static_cast<uint32_t>(n), multiplier) + static_cast<uint32_t>(n)) >> shift);
  }
};

/// The tiles of a result: channels first, then columns, rows and images.
struct Tiles {
  int count;
  Divisor columns, phase_columns, whole, wide, all_chunks;
};

/// Which part of the result a tile is.
template <typename Form>
struct Tile {
  int image, y, x, column;  // of its first pixel; of its channels among the columns of all phases
  int phase = 0;            // 2 (row of the result, even or odd) + column

  __device__ Tile(const Tiles& tiles, int index) {
    const int m = tiles.columns.divide(index);
    column = index - m * static_cast<int>(tiles.columns.divisor);
    if constexpr (Form::kPhases) phase = tiles.phase_columns.divide(column);
    out_column = column - phase * static_cast<int>(tiles.phase_columns.divisor);
    if constexpr (Form::kSmall) {
      image = m * Form::kPatches;
      y = x = 0;
    } else {
      image = tiles.whole.divide(m);
      const int rest = m - image * static_cast<int>(tiles.whole.divisor);
      const int row = tiles.wide.divide(rest);
      y = row * 16;
      x = (rest - row * static_cast<int>(tiles.wide.divisor)) * 16;
    }
  }
  /// Its first channel.
  __device__ int out() const { return out_column * kOut; }
  __device__ int image_of(int patch) const { return Form::kSmall ? image + patch : image; }
  /// The place in the result of pixel 0 to 63 of a patch.
  __device__ int64_t place(const WarpgroupConv& conv, int patch, int pixel) const {
    int row = pixel / 8 + (Form::kSmall ? 0 : y + patch / 2 * 8);
    int from_left = pixel % 8 + (Form::kSmall ? 0 : x + patch % 2 * 8);
    constexpr int kTimes = Form::kPhases ? 2 : 1;
    if constexpr (Form::kPhases) {
      row = 2 * row + phase / 2;
      from_left = 2 * from_left + phase % 2;
    }
    return (static_cast<int64_t>(image_of(patch)) * kTimes * conv.height + row) * kTimes *
               conv.width +
           from_left;
  }

 private:
  int out_column;
};

__device__ __forceinline__ int chunks_of(const WarpgroupConv& conv) {
  return (conv.channels + conv.rest_channels) / kChunk;
}
__device__ __forceinline__ int side_chunks_of(const WarpgroupConv& conv) {
  return (conv.side_channels + conv.side_rest) / kChunk;
}

/// The chunk that a tile's sums take i-th: those of the shortcut, of one tap each, last; or, where
/// blocks share a tile, spread among the others, so that all have as much to multiply.
template <typename Form>
struct ChunkAt {
  bool is_side;
  int index;  // among the shortcut's, or among the others

  __device__ ChunkAt(const WarpgroupConv& conv, const Tiles& tiles, int i) {
    const int chunks = chunks_of(conv);
    if constexpr (Form::kSplit == 1) {
      is_side = i >= chunks;
      index = is_side ? i - chunks : i;
    } else {
      const int last = static_cast<int>(tiles.all_chunks.divisor) - 1;
      const int before = tiles.all_chunks.divide(i * chunks + last);  // ceil(i chunks / all)
      is_side = tiles.all_chunks.divide((i + 1) * chunks + last) == before;
      index = is_side ? i - before : before;
    }
  }
};

/// What a block does: some tiles, of which it multiplies all chunks of channels; or, where there
/// are few, a part of the chunks of one tile, whose rest fall to the other blocks of its cluster.
/// Nothing is kept: registers are worth more.
template <typename Form>
struct Share {
  const WarpgroupConv& conv;

  __device__ int rank() const {
    return Form::kSplit > 1 ? static_cast<int>(blockIdx.x) % Form::kSplit : 0;
  }
  /// The first tile, and from one to the next.
  __device__ int tile() const { return static_cast<int>(blockIdx.x) / Form::kSplit; }
  __device__ int step() const { return static_cast<int>(gridDim.x) / Form::kSplit; }
  /// The chunks, from the first to the one behind the last.
  __device__ int begin() const { return all() * rank() / Form::kSplit; }
  __device__ int end() const { return all() * (rank() + 1) / Form::kSplit; }
  /// Patches whose result the block writes.
  __device__ static constexpr int patches() { return Form::kPatches / Form::kSplit; }
  __device__ int first_patch() const { return rank() * patches(); }

 private:
  __device__ int all() const { return chunks_of(conv) + side_chunks_of(conv); }
};

}  // namespace ddpm::cuda::warpgroup
