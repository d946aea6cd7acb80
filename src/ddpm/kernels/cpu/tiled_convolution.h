#pragma once

#include <cstdint>

namespace ddpm::cpu {

/// A convolution of channels_last maps; channels are a multiple of kTileDepth.
struct TiledConvolution {
  int64_t images = 0, height = 0, width = 0, channels = 0;  ///< of x
  int64_t out_height = 0, out_width = 0, out_channels = 0;
  int64_t kernel = 1, stride = 1, padding = 0;
  bool is_padded = false;  ///< x comes with its padding, in the order of images_beside().
};

/// What it reads and writes, in bfloat16.
struct TiledMaps {
  const uint16_t* x = nullptr;         ///< [N, C, H, W] channels_last; or, where it comes with its
                                       ///< padding, [N / b, H + 2 p, W + 2 p, b, C]
  const uint16_t* weight = nullptr;    ///< [O / 32, k columns, C / 32, k rows, 2, 16 pairs,
                                       ///< 16 channels, 2]; what is beyond O is zero
  const uint16_t* bias = nullptr;      ///< [O]; may be null, as residual
  const uint16_t* residual = nullptr;  ///< as y
  uint16_t* y = nullptr;               ///< [N, O, H', W'] channels_last
};

/// b: as many images beside each other, pixel by pixel, have rows of results that are whole tiles.
/// 0 where there are none such; x can't come with its padding then, nor with a kernel of one row.
int64_t images_beside(const TiledConvolution& convolution);

/// y = conv(x, weight) + bias + residual in float32 by AMX, rounded once. The bits do not depend on
/// the number of threads, nor of images. Needs cpu_has_amx().
void convolve_tiles(const TiledConvolution& convolution, const TiledMaps& maps);

}  // namespace ddpm::cpu
