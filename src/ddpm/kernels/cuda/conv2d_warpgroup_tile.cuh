#pragma once

#include <cstdint>

#include "ddpm/kernels/cuda/conv2d_warpgroup_halo.cuh"
#include "ddpm/kernels/cuda/conv2d_warpgroup_kernels.h"

// What the warps of conv2d_warpgroup.cu share: how the work is cut into tiles, and how a tile's
// pixels, weights and result lie in shared memory.
namespace ddpm::cuda::warpgroup {

template <typename Form>
struct Shared {
  uint4 pixels[kPixelStages][kParts][Halo<Form>::kSlots];
  unsigned char weights[kWeightStages][kMostTaps * kTapBytes];
  unsigned char result[Form::kPixels + (Form::kFour ? 1 : 0)][kRowBytes];
  uint64_t pixels_full[kPixelStages], pixels_empty[kPixelStages];
  uint64_t weights_full[kWeightStages], weights_empty[kWeightStages];
  uint64_t result_full;  // there is room for a tile's result, and its residual stands in it
  uint64_t result_done;  // by the multipliers: written, or sent as well unless feeders do that
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
  Divisor columns, phase_columns, whole, wide;
};

/// Which part of the result a tile is.
template <typename Form>
struct Tile {
  int image, y, x;    // of its first pixel
  int weight_column;  // of its channels among the weight's, which may have those of all phases
  int phase = 0;      // 2 (row of the result, even or odd) + column

  __device__ Tile(const Tiles& tiles, int index) {
    const int m = tiles.columns.divide(index);
    const int column = index - m * static_cast<int>(tiles.columns.divisor);
    if constexpr (Form::kPhases) phase = tiles.phase_columns.divide(column);
    out_column = column - phase * static_cast<int>(tiles.phase_columns.divisor);
    weight_column = Form::kTransposed ? out_column : column;
    if constexpr (Form::kTransposed) phase = (phase + m) % 4;  // a block gets long and short ones
    if constexpr (Form::kSmall) {
      image = m * Form::kPatches;
      y = x = 0;
    } else if constexpr (Form::kFour) {  // two columns of each
      image = m / 2 * kFourImages;
      y = 0;
      x = m % 2 * 2;
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
  /// Of a patch's sums among those of all images' parts.
  __device__ int64_t part(const WarpgroupConv& conv, int patch) const {
    const int of_phase = conv.height * conv.width / kPatchPixels;
    const int parts = of_phase * (Form::kPhases ? 4 : 1);
    const int own =
        phase * of_phase + (Form::kSmall ? 0 : (y / 16 * (conv.width / 16) + x / 16) * 4 + patch);
    return static_cast<int64_t>(image_of(patch)) * parts + own;
  }

 private:
  int out_column;
};

/// The multipliers get the memory of pixels for sums of their own: by all feeders when they have
/// fed all, and by all multipliers when they have multiplied all.
constexpr int kPixelsAreDone = 4;
__device__ __forceinline__ void leave_pixels() {
  arrive_at(kPixelsAreDone, kGroups * kGroupThreads);
}
__device__ __forceinline__ void take_pixels() { meet(kPixelsAreDone, kGroups * kGroupThreads); }

/// By both multiplying groups.
__device__ __forceinline__ void meet_multipliers() {
  constexpr int kBarrier = 3;  // each group has one of its own
  meet(kBarrier, kMultiplierWarps * kWarpThreads);
}

__device__ __forceinline__ int chunks_of(const WarpgroupConv& conv) {
  return (conv.channels + conv.rest_channels) / kChunk;
}
__device__ __forceinline__ int side_chunks_of(const WarpgroupConv& conv) {
  return (conv.side_channels + conv.side_rest) / kChunk;
}

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
  /// Its chunks, of the maps and then of the shortcut's: the first, the one that follows another,
  /// the one behind the last, and how many they are. Each block of a cluster has its part of both,
  /// as both take the same time then.
  __device__ int begin() const { return part(chunks_of(conv), rank()); }
  __device__ int next(int chunk) const {
    if constexpr (Form::kSplit == 1) return chunk + 1;
    return chunk + 1 == main_end() ? chunks_of(conv) + side_begin() : chunk + 1;
  }
  __device__ int end() const { return chunks_of(conv) + side_end(); }
  __device__ int count() const { return main_end() - begin() + side_end() - side_begin(); }
  /// The end of those of the maps, and those of the shortcut's maps, counted by themselves.
  __device__ int main_end() const { return part(chunks_of(conv), rank() + 1); }
  __device__ int side_begin() const { return part(side_chunks_of(conv), rank()); }
  __device__ int side_end() const { return part(side_chunks_of(conv), rank() + 1); }
  /// Patches whose result the block writes.
  __device__ static constexpr int patches() { return Form::kPatches / Form::kSplit; }
  __device__ int first_patch() const { return rank() * patches(); }

 private:
  static __device__ int part(int of, int rank) { return of * rank / Form::kSplit; }
};

}  // namespace ddpm::cuda::warpgroup
