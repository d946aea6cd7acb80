#pragma once

#include <cstdint>

namespace ddpm::cpu {

/// A weight [O, C, k, k] of bfloat16, channels_last.
struct TiledWeight {
  int64_t out_channels = 0, in_channels = 0, kernel = 1;
  bool turned = false;  ///< For the gradient of what comes in: [C, O, k, k], its taps backwards.

  /// Of the convolution that reads the tiles.
  int64_t results() const { return turned ? in_channels : out_channels; }
  int64_t depth() const { return turned ? out_channels : in_channels; }
  /// Of TiledMaps::weight: whole blocks of channels.
  int64_t num_numbers() const;
};

/// The weight as TiledMaps::weight; depth() is a multiple of kTileDepth.
void pack_weight_tiles(const TiledWeight& shape, const uint16_t* weight, uint16_t* tiles);

}  // namespace ddpm::cpu
