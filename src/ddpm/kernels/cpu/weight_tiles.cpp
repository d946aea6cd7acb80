#include "ddpm/kernels/cpu/weight_tiles.h"

#include <ATen/Parallel.h>

#include <algorithm>

#include "ddpm/kernels/cpu/amx_tiles.h"
#include "ddpm/kernels/cpu/integers.h"

namespace ddpm::cpu {
namespace {

constexpr int64_t kResultsOfTile = kBlockChannels / 2;

/// One tile: 16 results of one tap, of 32 channels that are summed over.
struct TilePlace {
  int64_t first_result, first_channel, tap;
};

/// @param count of results that there are; the others are zeros.
void pack_tile(const TiledWeight& shape, const uint16_t* weight, const TilePlace& place,
               int64_t count, uint16_t* tile) {
  const int64_t taps = shape.kernel * shape.kernel;
  const int64_t row = taps * shape.in_channels;  // of an output channel
  if (shape.turned) {
    const uint16_t* const from = weight + place.first_channel * row +
                                 (taps - 1 - place.tap) * shape.in_channels + place.first_result;
    for (int64_t channel = 0; channel < kTileDepth; channel += 2) {
      const uint16_t* const even = from + channel * row;
      uint16_t* const to = tile + channel * kResultsOfTile;
      for (int64_t i = 0; i < count; ++i) {
        to[2 * i] = even[i];
        to[2 * i + 1] = even[row + i];
      }
    }
    return;
  }
  const uint16_t* const from =
      weight + place.first_result * row + place.tap * shape.in_channels + place.first_channel;
  for (int64_t i = 0; i < count; ++i) {
    for (int64_t channel = 0; channel < kTileDepth; channel += 2) {
      uint16_t* const to = tile + channel * kResultsOfTile + 2 * i;
      to[0] = from[i * row + channel];
      to[1] = from[i * row + channel + 1];
    }
  }
}

}  // namespace

int64_t TiledWeight::num_numbers() const {
  return round_up(results(), kBlockChannels) * kernel * kernel * depth();
}

void pack_weight_tiles(const TiledWeight& shape, const uint16_t* weight, uint16_t* tiles) {
  constexpr int64_t kNumbersOfTile = kStepNumbers / 2, kTilesAtOnce = 64;
  const int64_t kernel = shape.kernel, steps_of_tap = shape.depth() / kTileDepth;
  const int64_t steps = kernel * kernel * steps_of_tap;
  const int64_t count = shape.num_numbers() / kNumbersOfTile;
  at::parallel_for(0, count, kTilesAtOnce, [&](int64_t begin, int64_t end) {
    for (int64_t i = begin; i < end; ++i) {
      const int64_t step = i / 2 % steps, row = step % kernel;
      const TilePlace place{.first_result = i / 2 / steps * kBlockChannels + i % 2 * kResultsOfTile,
                            .first_channel = step / kernel % steps_of_tap * kTileDepth,
                            .tap = row * kernel + step / kernel / steps_of_tap};
      const int64_t results =
          std::clamp(shape.results() - place.first_result, int64_t{0}, kResultsOfTile);
      uint16_t* const tile = tiles + i * kNumbersOfTile;
      if (results < kResultsOfTile) std::fill_n(tile, kNumbersOfTile, uint16_t{0});
      pack_tile(shape, weight, place, results, tile);
    }
  });
}

}  // namespace ddpm::cpu
