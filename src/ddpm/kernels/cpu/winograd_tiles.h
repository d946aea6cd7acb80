#pragma once

#include <cstdint>

#include "ddpm/kernels/cpu/winograd_shapes.h"

namespace ddpm::cpu {

/// What a WinogradConvolution reads and writes.
struct WinogradMaps {
  const float* x = nullptr;         ///< [N, C, H, W] channels_last
  const float* weight = nullptr;    ///< of transform_winograd_weight()
  const float* bias = nullptr;      ///< [O]; may be null, as residual
  const float* residual = nullptr;  ///< as y
  float* y = nullptr;               ///< [N, O, H', W'] channels_last
};

/// A weight [3, 3, C, O], or one whose taps come from the last to the first.
struct WinogradTaps {
  const float* numbers = nullptr;
  int64_t channels = 0, out_channels = 0;
  int64_t tap_step = 0, channel_step = 0;  ///< to the next tap, and the next channel
  bool is_turned = false;
};

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
