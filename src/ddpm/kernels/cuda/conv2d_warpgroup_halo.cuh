#pragma once

#include <cstdint>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/warpgroup.cuh"

// The forms of conv2d_warpgroup.cu's kernel, and how each has pixels in shared memory.
namespace ddpm::cuda::warpgroup {

using bf16 = __nv_bfloat16;

constexpr int kGroups = 4, kFeeders = 2;
constexpr int kPatchPixels = 64;  // a patch of 8 x 8, or of 4 of each of kFourImages
constexpr int kFourImages = 16;   // 4x4 maps of a tile
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

/// The maps that a kernel takes: of 16x16 pixels and multiples, of 8x8, or of 4x4.
enum class Maps { kLarge, kEight, kFour };

/// The taps that a kernel takes: all 3x3; or, of a result twice as high and wide, which has four
/// phases (even or odd rows and columns), the 2x2 of a phase of an upsampled map's convolution, or
/// those of the 3x3 that fall on a phase of a transposed convolution of stride 2: one or two a
/// side.
enum class Taps { kAll, kUpsampled, kTransposed };

/// What a kernel is compiled for: the maps; the taps; how many blocks share a tile's chunks; how
/// many patches each of the two multiplying groups has.
template <Maps kOfMaps, Taps kOfTaps, int kBlocksOfTile, int kPatchesOfGroup = 2>
struct FormOf {
  static constexpr Maps kMaps = kOfMaps;
  static constexpr bool kSmall = kMaps == Maps::kEight, kFour = kMaps == Maps::kFour;
  static constexpr bool kPhases = kOfTaps != Taps::kAll;
  static constexpr bool kTransposed = kOfTaps == Taps::kTransposed;
  static constexpr int kTaps = kOfTaps == Taps::kUpsampled ? 2 : 3;  // of a row of the weight
  static constexpr int kSplit = kBlocksOfTile;
  static constexpr int kGroupPatches = kPatchesOfGroup, kPatches = 2 * kGroupPatches;  // of a tile
  static constexpr int kPixels = kPatches * kPatchPixels;
  static constexpr bool kFeedersSend = kSplit == 1 && !kFour;  // results, while others multiply
  static_assert(kMaps != Maps::kLarge || kPatches == 4);
  static_assert(kFour ? !kPhases && kPatches == 2 && 8 % kSplit == 0 : kPatches % kSplit == 0);
};

/// A phase's taps of a side: how many, and which of the weight's.
template <typename Form>
__device__ __forceinline__ int count_taps(int odd) {
  return Form::kTransposed ? 2 - odd : Form::kTaps;
}
template <typename Form>
__device__ __forceinline__ int weight_tap(int odd, int i) {
  return Form::kTransposed ? (odd != 0 ? 1 : 2 * i) : i;
}

/// How a tile's pixels with their borders lie in shared memory: slot by slot, 16 bytes of each in
/// each of the kParts planes. Six more than a multiple of eight slots spread the planes over the
/// banks. kPitch is from a row of the map to the next, kColumn from a column to the next,
/// kEightRows from eight rows of a product to the next eight; patch() where the product with the
/// first tap of the kernel begins, in a tile whose first column is x; tap() the order of a row's
/// taps, of which the last goes beyond the map where a patch lies_at_edge(), so that it has none
/// there.
template <typename Form, Maps kMaps = Form::kMaps>
struct Halo;
template <typename Form>
struct Halo<Form, Maps::kLarge> {  // 16 x 16 pixels of one image, all around them one more
  static constexpr int kPitch = 18, kColumn = 1, kEightRows = kPitch, kSlots = 326;
  static __device__ int tap(int, int i) { return i; }
  static __device__ bool lies_at_edge(int) { return false; }
  static __device__ int patch(int, int p) { return (p >> 1) * 8 * kPitch + (p & 1) * 8; }
};
template <typename Form>
struct Halo<Form, Maps::kEight> {  // images of 8 x 8, a row and a column of zeros between them
  static constexpr int kPitch = 9, kColumn = 1, kEightRows = kPitch;
  static constexpr int kUsed = (Form::kPatches * 9 + 1) * kPitch + 1;
  static constexpr int kSlots = (kUsed + 1) / 8 * 8 + 6;
  static_assert(kSlots >= kUsed && kSlots % 8 == 6);
  static __device__ int tap(int, int i) { return i; }
  static __device__ bool lies_at_edge(int) { return false; }
  static __device__ int patch(int, int p) { return p * 9 * kPitch; }
};

/// Columns of kFourImages maps of 4 x 4, pixel by pixel, of each all the images', and zeros between
/// the columns. A patch is a column: a shift by one tap is another column, or another pixel of all
/// its images. Where that column is none, there is no product.
template <typename Form>
struct Halo<Form, Maps::kFour> {
  static constexpr int kPitch = kFourImages, kColumn = 5 * kPitch, kEightRows = 8;
  static constexpr int kSlots = 4 * kColumn + kPitch + 6;

  /// The two columns of a half that begins with x: the outer one, and the inner one.
  static __device__ int column_of(int x, int p) { return x == 0 ? p : 3 - p; }
  static __device__ bool lies_at_edge(int p) { return p == 0; }
  static __device__ int tap(int x, int i) { return i == 0 ? 1 : (x == 0) == (i == 1) ? 2 : 0; }
  static __device__ int patch(int x, int p) { return (column_of(x, p) - 1) * kColumn; }
};

}  // namespace ddpm::cuda::warpgroup
