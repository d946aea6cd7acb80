#pragma once

#include <cstdint>

namespace ddpm::cpu {

/// A 3x3 convolution of stride 1 of channels_last maps in float32, by tiles of 4x4 results, which
/// take 36 products a pair of channels in the place of 144: Winograd's F(4x4, 3x3) (Lavin and
/// Gray, 2015, arXiv:1509.09308), in
///
///     Y = A^T ((G w G^T) * (B^T d B)) A,
///
/// of polynomials at 0, +-sqrt(1/2), +-sqrt(2) and infinity. At these points it is about as exact
/// as sums of products of the pixels themselves; at the usual 0, +-1, +-2 it loses a digit.
struct WinogradConvolution {
  int64_t images = 0, height = 0, width = 0, channels = 0;  ///< of what comes in
  int64_t out_channels = 0;
  int64_t padding = 1;
  bool is_upsampled = false;  ///< x has half the height and width: each pixel stands for four.

  int64_t out_height() const { return height + 2 * padding - 2; }
  int64_t out_width() const { return width + 2 * padding - 2; }
};

/// What it reads and writes.
struct WinogradMaps {
  const float* x = nullptr;         ///< [N, C, H, W] channels_last
  const float* weight = nullptr;    ///< of transform_winograd_weight()
  const float* bias = nullptr;      ///< [O]; may be null, as residual
  const float* residual = nullptr;  ///< as y
  float* y = nullptr;               ///< [N, O, H', W'] channels_last
};

/// Tiles of all images, row by row.
struct WinogradTiles {
  int64_t first = 0, count = 0;
};

/// A weight [3, 3, C, O], or one whose taps come from the last to the first.
struct WinogradTaps {
  const float* numbers = nullptr;
  int64_t channels = 0, out_channels = 0;
  int64_t tap_step = 0, channel_step = 0;  ///< to the next tap, and the next channel
  bool is_turned = false;
};

constexpr int64_t kWinogradPoints = 36;
constexpr int kWinogradSide = 4;  ///< of a tile of results

/// Output channels of a block of weights: as many as this CPU's kernel multiplies at once.
int64_t winograd_block();

/// Tiles of which a multiple is multiplied at the least cost.
int64_t winograd_rows();

/// Numbers that transformed pixels of so many tiles take, and products of one block with them.
int64_t winograd_pixels_room(int64_t tiles, int64_t channels);
int64_t winograd_products_room(int64_t tiles);

/// G w G^T of a block of output channels and of input channels from `begin` to `end`.
///
/// @param to [36, C, winograd_block()] of this block; zeros where it ends beyond O.
void transform_winograd_weight(const WinogradTaps& taps, int64_t block, int64_t begin, int64_t end,
                               float* to);

/// B^T d B of some tiles.
///
/// @param to winograd_pixels_room()
void transform_winograd_pixels(const WinogradConvolution& convolution, const float* x,
                               const WinogradTiles& tiles, float* to);

/// The results of a block of output channels in some tiles. Their bits do not depend on which tiles
/// stand together.
///
/// @param products winograd_products_room()
void finish_winograd_tiles(const WinogradConvolution& convolution, const WinogradMaps& maps,
                           const WinogradTiles& tiles, int64_t block, const float* pixels,
                           float* products);

}  // namespace ddpm::cpu
