#include "ddpm/kernels/cpu/amx_map_tiles.h"

#if defined(__x86_64__) && defined(__linux__)
#include <algorithm>
#include <immintrin.h>

#define DDPM_AVX512 __attribute__((target("avx512f,avx512bw,avx512vl,avx512vbmi")))

namespace ddpm::cpu {
namespace {

constexpr int64_t kLine = 32;  // channels in a line of the cache

alignas(64) constexpr uint16_t kZeros[kMostTaskTiles * kChannelsPerTile] = {};

/// The 32 pixels of a tile, from a task's first channel on; zeros where there is no pixel.
class Pixels {
 public:
  Pixels(const MapTiles& t, const uint16_t* map, int64_t first_channel, int64_t row) : t_(t) {
    const int64_t first_image = row / t.height * t.images_per_tile;
    for (int64_t i = 0; i < kPixelsPerTile; ++i) {
      const int64_t image = first_image + i % t.images_per_tile;
      columns_[i] = i / t.images_per_tile * t.segment_step - t.padding;
      if (image >= t.images) columns_[i] = t.width;  // never a pixel
      rows_[i] = map + first_channel +
                 (std::min(image, t.images - 1) * t.height + row % t.height) * t.width * t.channels;
    }
  }

  /// Goes to one of the tiles of the row.
  void move_to(int64_t column) {
    for (int64_t i = 0; i < kPixelsPerTile; ++i) {
      const int64_t at = columns_[i] + column;
      const bool is_pixel = at >= 0 && at < t_.width;
      pixels_[i] = is_pixel ? rows_[i] + at * t_.channels : kZeros;
    }
  }
  const uint16_t* operator[](int64_t i) const { return pixels_[i]; }

 private:
  const MapTiles& t_;
  const uint16_t* rows_[kPixelsPerTile];
  int64_t columns_[kPixelsPerTile];
  const uint16_t* pixels_[kPixelsPerTile];
};

/// [32 pixels][32 channels]. Lines of a map lie many powers of two apart, of which the first cache
/// keeps few: so each is read once.
struct Stage {
  alignas(64) uint16_t numbers[kPixelsPerTile][kLine];
};

DDPM_AVX512 void stage_pixels(const Pixels& pixels, int64_t channel, __mmask32 mask, Stage& stage) {
  for (int64_t i = 0; i < kPixelsPerTile; ++i) {
    _mm512_store_si512(stage.numbers[i], _mm512_maskz_loadu_epi16(mask, pixels[i] + channel));
  }
}

/// 8 channels of pixels i, i + 8, i + 16 and i + 24.
DDPM_AVX512 inline __m512i load_four(const Stage& stage, int64_t i, int64_t channel) {
  const auto* const numbers = &stage.numbers[i][channel];
  const auto* const pixels = reinterpret_cast<const __m128i*>(numbers);
  constexpr int64_t kNext = 8 * kLine / 8;  // in __m128i
  __m512i four = _mm512_castsi128_si512(_mm_load_si128(pixels));
  four = _mm512_mask_broadcast_i32x4(four, 0x00f0, _mm_load_si128(pixels + kNext));
  four = _mm512_mask_broadcast_i32x4(four, 0x0f00, _mm_load_si128(pixels + 2 * kNext));
  return _mm512_mask_broadcast_i32x4(four, 0xf000, _mm_load_si128(pixels + 3 * kNext));
}

/// 8 rows of a tile in the order kChannels: a transposition of 8 x 8 numbers in each quarter of 8
/// registers.
DDPM_AVX512 void transpose_channels(const Stage& stage, int64_t channel, uint16_t* to) {
  __m512i a[8], b[8];
  for (int64_t i = 0; i < 8; ++i) a[i] = load_four(stage, i, channel);
  for (int64_t i = 0; i < 4; ++i) {
    b[2 * i] = _mm512_unpacklo_epi16(a[2 * i], a[2 * i + 1]);
    b[2 * i + 1] = _mm512_unpackhi_epi16(a[2 * i], a[2 * i + 1]);
  }
  for (int64_t i = 0; i < 2; ++i) {
    for (int64_t half = 0; half < 2; ++half) {
      a[4 * i + 2 * half] = _mm512_unpacklo_epi32(b[4 * i + half], b[4 * i + 2 + half]);
      a[4 * i + 2 * half + 1] = _mm512_unpackhi_epi32(b[4 * i + half], b[4 * i + 2 + half]);
    }
  }
  for (int64_t i = 0; i < 4; ++i) {
    _mm512_store_si512(to + (2 * i) * kPixelsPerTile, _mm512_unpacklo_epi64(a[i], a[i + 4]));
    _mm512_store_si512(to + (2 * i + 1) * kPixelsPerTile, _mm512_unpackhi_epi64(a[i], a[i + 4]));
  }
}

DDPM_AVX512 void pack_channels(const Pixels& pixels, int64_t channel, bool two,
                               uint16_t* const to[2]) {
  Stage stage;
  stage_pixels(pixels, channel, two ? 0xffffffffU : 0xffffU, stage);
  for (int64_t i = 0; i < (two ? 2 : 1); ++i) {
    transpose_channels(stage, 16 * i, to[i]);
    transpose_channels(stage, 16 * i + 8, to[i] + 8 * kPixelsPerTile);
  }
}

/// Bytes of two pixels' 16 channels, one behind the other, in the order of a row of pairs.
struct PairOrder {
  constexpr PairOrder() {
    for (int64_t i = 0; i < 64; ++i) {
      bytes[i] = static_cast<uint8_t>(i / 4 * 2 + i % 2 + i / 2 % 2 * 32);
    }
  }
  alignas(64) uint8_t bytes[64] = {};
};
constexpr PairOrder kPairOrder;

DDPM_AVX512 void pack_pairs(const Pixels& pixels, int64_t channel, bool two,
                            uint16_t* const to[2]) {
  const __m512i order = _mm512_load_si512(kPairOrder.bytes);
  const __mmask32 mask = two ? 0xffffffffU : 0xffffU;
  for (int64_t i = 0; i < kPixelsPerTile; i += 2) {
    const __m512i even = _mm512_maskz_loadu_epi16(mask, pixels[i] + channel);
    const __m512i odd = _mm512_maskz_loadu_epi16(mask, pixels[i + 1] + channel);
    const __m512i low = _mm512_inserti64x4(even, _mm512_castsi512_si256(odd), 1);
    _mm512_store_si512(to[0] + i * kChannelsPerTile, _mm512_permutexvar_epi8(order, low));
    if (!two) continue;
    const __m512i high = _mm512_shuffle_i64x2(even, odd, 0xee);
    _mm512_store_si512(to[1] + i * kChannelsPerTile, _mm512_permutexvar_epi8(order, high));
  }
}

}  // namespace

void pack_row(const MapTiles& t, TileOrder order, const uint16_t* map, ChannelRange channels,
              int64_t row, uint16_t* copy) {
  Pixels pixels(t, map, channels.first * kChannelsPerTile, row);
  for (int64_t column = 0; column < t.columns; ++column) {
    pixels.move_to(column);
    for (int64_t tile = 0; tile < channels.count; tile += 2) {
      uint16_t* const to[2] = {copy + t.at(tile, row) + column * kTileNumbers,
                               copy + t.at(tile + 1, row) + column * kTileNumbers};
      const bool two = tile + 1 < channels.count;
      switch (order) {
        case TileOrder::kChannels:
          pack_channels(pixels, tile * kChannelsPerTile, two, to);
          break;
        case TileOrder::kPixelPairs:
          pack_pairs(pixels, tile * kChannelsPerTile, two, to);
          break;
      }
    }
  }
}

}  // namespace ddpm::cpu
#endif
