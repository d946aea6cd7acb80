#pragma once

#include <cstdint>

#include "ddpm/kernels/cpu/round_sums.h"

namespace ddpm::cpu {

/// While it lives, the calling thread's AMX registers are eight tiles of 16 rows of 64 bytes.
/// Whoever else configures them in between has to release them again.
class AmxRegisters {
 public:
  AmxRegisters();
  ~AmxRegisters();
  AmxRegisters(const AmxRegisters&) = delete;
  AmxRegisters& operator=(const AmxRegisters&) = delete;
};

inline constexpr int64_t kTilePixels = 16;  ///< Rows of a product's left side.
inline constexpr int64_t kTileDepth = 32;   ///< bfloat16 numbers of a row, which a step sums over.
inline constexpr int64_t kBlockChannels = 32;  ///< Columns of a product: two tiles.
inline constexpr int64_t kStepNumbers = kTileDepth * kBlockChannels;  ///< Of its right side.

/// The left side of a product: pixels, of each of which a step takes the next kTileDepth numbers.
/// Fastest where the kernel has three rows and the second tile is a row_step behind the first.
struct PixelTiles {
  const uint16_t* first = nullptr;   ///< kTilePixels pixels
  const uint16_t* second = nullptr;  ///< as many; null: none
  int64_t pixel_step = 0;            ///< Numbers from a pixel to the next.
  int64_t row_step = 0;              ///< Numbers from a row of the kernel to the next.
  int64_t tap_step = 0;              ///< Numbers from a tap of a row to the next.
};

/// The right side: weights [taps][steps][rows][2][16 pairs][16 channels][2] of bfloat16.
struct WeightTiles {
  const uint16_t* numbers = nullptr;
  const float* bias = nullptr;            ///< [kBlockChannels], with which sums begin.
  int64_t taps = 1, steps = 0, rows = 1;  ///< Taps of a row of the kernel, steps of each, and rows.
  bool is_far = false;                    ///< They come from memory: they are asked for ahead.
};

/// Sums of two tiles that are yet to be rounded, as round_sums() does with all kBlockChannels; they
/// have the bias.
struct OpenSums {
  const float* sums = nullptr;  ///< [2][kTilePixels][kBlockChannels]
  int64_t first_pixels = 0;     ///< That count of the first tile.
  int64_t pixels = 0;           ///< That count of both.
  SumsTarget first = {}, second = {};
  int64_t rounded = 0;  ///< Pixels that are done.
};

/// sums [2][kTilePixels][kBlockChannels], of which the second half stays as it is without a second
/// tile. Rounds what is left of `before`, whose sums lie elsewhere, on the way: products leave the
/// vector units idle. Sums go over taps, steps and then rows. Needs AmxRegisters.
void multiply_tiles(const PixelTiles& pixels, const WeightTiles& weights, float* sums,
                    OpenSums& before);

/// Rounds what is left.
void round_rest(OpenSums& open);

}  // namespace ddpm::cpu
