#pragma once

#include <cstdint>

#include "ddpm/kernels/cpu/integers.h"

namespace ddpm::cpu {

constexpr int64_t kWinogradPoints = 36;
constexpr int kWinogradSide = 4;  ///< of a tile of results

/// A 3x3 convolution of stride 1 of channels_last maps in float32, by tiles of 4x4 results, which
/// take 36 products a pair of channels in the place of 144: Winograd's F(4x4, 3x3),
///
///     Y = A^T ((G w G^T) * (B^T d B)) A,    [LG Sec. 4]
///
/// of polynomials at 0, +-sqrt(1/2), +-sqrt(2) and infinity. There errors are 1.7e-6 to 3.2e-6 of
/// the largest result (sums over the pixels themselves: 1.1e-6 to 1.9e-6), and at the usual 0, +-1,
/// +-2 and infinity four times as large.
struct WinogradConvolution {
  int64_t images = 0, height = 0, width = 0, channels = 0;  ///< of what comes in
  int64_t out_channels = 0;
  int64_t padding = 1;
  bool is_upsampled = false;  ///< x has half the height and width: each pixel stands for four.

  int64_t out_height() const { return height + 2 * padding - 2; }
  int64_t out_width() const { return width + 2 * padding - 2; }
  int64_t tiles_down() const { return divide_up(out_height(), kWinogradSide); }
  int64_t tiles_across() const { return divide_up(out_width(), kWinogradSide); }
  int64_t num_tiles() const { return images * tiles_down() * tiles_across(); }
};

/// Tiles of all images, row by row.
struct WinogradTiles {
  int64_t first = 0, count = 0;
};

}  // namespace ddpm::cpu
