#pragma once

#include <cstdint>

#include "ddpm/kernels/cpu/weight_gradient_plan.h"

namespace ddpm::cpu {

/// The order of a tile's numbers: AMX's first operand has a channel's pixels in a row, the second
/// one pairs of pixels, interleaved.
enum class TileOrder {
  kChannels,    ///< [16 channels][32 pixels]
  kPixelPairs,  ///< [16 pairs][16 channels][2]
};

/// Neighbouring tiles of channels.
struct ChannelRange {
  int64_t first, count;
};

/// Copies a row of a map to its place among the tiles that a thread keeps.
///
/// @param map  [N, C, H, W] bfloat16, channels_last.
/// @param copy aligned to 64 bytes.
void pack_row(const MapTiles& tiles, TileOrder order, const uint16_t* map, ChannelRange channels,
              int64_t row, uint16_t* copy);

}  // namespace ddpm::cpu
