#include "ddpm/kernels/cpu/winograd_tiles.h"

#include <algorithm>
#include <array>

#include "ddpm/kernels/cpu/integers.h"

// Arrays of vectors stand in registers here, which a vector of unknown length can't.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ddpm/kernels/cpu/winograd_tiles.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include "ddpm/kernels/cpu/vectors-inl.h"
#include "ddpm/kernels/cpu/winograd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ddpm::cpu::HWY_NAMESPACE {

int64_t block_of_target() { return block_width(); }
int64_t rows_of_target() { return kRows; }

/// G w along one side.
template <class D>
HWY_INLINE void transform_taps(D d, const std::array<hn::Vec<D>, 3>& w,
                               std::array<hn::Vec<D>, kPoints>& to) {
  const auto third = hn::Set(d, -1.0F / 3), sixth = hn::Set(d, 1.0F / 6);
  const auto inner = hn::Mul(hn::MulAdd(hn::Set(d, 2.0F), w[0], w[2]), third);
  const auto inner_odd = hn::Mul(w[1], hn::Set(d, -kRoot * 2 / 6));
  const auto outer = hn::Mul(hn::MulAdd(hn::Set(d, 2.0F), w[2], w[0]), sixth);
  const auto outer_odd = hn::Mul(w[1], hn::Set(d, kRoot / 6));
  to = {w[0],
        hn::Add(inner, inner_odd),
        hn::Sub(inner, inner_odd),
        hn::Add(outer, outer_odd),
        hn::Sub(outer, outer_odd),
        w[2]};
}

/// A^T m along one side.
template <class D>
HWY_INLINE void transform_back(D d, const std::array<hn::Vec<D>, kPoints>& m,
                               std::array<hn::Vec<D>, kSide>& to) {
  const auto half = hn::Set(d, 0.5F), two = hn::Set(d, 2.0F);
  const auto inner = hn::Add(m[1], m[2]), inner_odd = hn::Sub(m[1], m[2]);
  const auto outer = hn::Add(m[3], m[4]), outer_odd = hn::Sub(m[3], m[4]);
  const auto odd =
      hn::MulAdd(hn::Set(d, kRoot), outer_odd, hn::Mul(hn::Set(d, kHalfRoot), inner_odd));
  const auto cubes = hn::MulAdd(hn::Set(d, 2 * kRoot), outer_odd,
                                hn::MulAdd(hn::Set(d, kHalfRoot / 2), inner_odd, m[5]));
  to = {hn::Add(m[0], hn::Add(inner, outer)), odd, hn::MulAdd(two, outer, hn::Mul(half, inner)),
        cubes};
}

void transform_weight(const WinogradTaps& taps, int64_t block, int64_t begin, int64_t end,
                      float* to) {
  const int64_t width = block_width(), first = block * width;
  const int64_t count = std::min(width, taps.out_channels - first);
  for (int64_t c = begin; c < end; ++c) {
    const float* const from = taps.numbers + c * taps.channel_step + first;
    const auto target = [&](int64_t point) { return to + (point * taps.channels + c) * width; };
    for_channels(count, [&](auto d, int64_t o) HWY_ATTR {
      using V = hn::Vec<decltype(d)>;
      std::array<std::array<V, kPoints>, 3> columns;
      for (size_t j = 0; j < 3; ++j) {
        std::array<V, 3> w;
        for (size_t i = 0; i < 3; ++i) {
          const auto tap = static_cast<int64_t>(3 * i + j);
          w[i] = hn::LoadU(d, from + (taps.is_turned ? 8 - tap : tap) * taps.tap_step + o);
        }
        transform_taps(d, w, columns[j]);
      }
      for (size_t i = 0; i < kPoints; ++i) {
        std::array<V, kPoints> row;
        transform_taps(d, {columns[0][i], columns[1][i], columns[2][i]}, row);
        for (size_t j = 0; j < kPoints; ++j) {
          hn::StoreU(row[j], d, target(static_cast<int64_t>(kPoints * i + j)) + o);
        }
      }
    });
    for (int64_t point = 0; point < kWinogradPoints; ++point) {
      std::fill_n(target(point) + count, width - count, 0.0F);
    }
  }
}

void transform_tiles(const WinogradConvolution& c, const float* x, const WinogradTiles& tiles,
                     float* to) {
  const int64_t tile_numbers = kWinogradPoints * row_numbers(c.channels);
  const int64_t rest =
      round_up(tiles.count, kFewRows) - tiles.count;  // multiplied as well, for nothing
  std::fill_n(to + tiles.count * tile_numbers, rest * tile_numbers, 0.0F);
  transform_pixels(c, x, c.channels, tiles, to);
}

/// Of some tiles at one point: [kCount, C] times [C, 2 vectors].
template <int kCount>
HWY_INLINE void multiply(const float* pixels, int64_t pixel_step, const float* weight,
                         int64_t channels, float* products, int64_t product_step) {
  const Whole d;
  const size_t lanes = hn::Lanes(d);
  hn::Vec<Whole> sums[kCount][2];
  for (auto& row : sums) row[0] = row[1] = hn::Zero(d);
  for (int64_t c = 0; c < channels; ++c, weight += 2 * lanes) {
    const auto w0 = hn::LoadU(d, weight), w1 = hn::LoadU(d, weight + lanes);
    for (int64_t r = 0; r < kCount; ++r) {
      const auto x = hn::Set(d, pixels[r * pixel_step + c]);
      sums[r][0] = hn::MulAdd(x, w0, sums[r][0]);
      sums[r][1] = hn::MulAdd(x, w1, sums[r][1]);
    }
  }
  for (int64_t r = 0; r < kCount; ++r) {
    hn::StoreU(sums[r][0], d, products + r * product_step);
    hn::StoreU(sums[r][1], d, products + r * product_step + lanes);
  }
}

HWY_INLINE void multiply_block(const WinogradConvolution& c, const float* weight, int64_t tiles,
                               const float* pixels, float* products) {
  const int64_t row = row_numbers(c.channels), width = block_width();
  const int64_t pixel_step = kWinogradPoints * row, product_step = kWinogradPoints * width;
  for (int64_t point = 0; point < kWinogradPoints; ++point) {
    const float* const w = weight + point * c.channels * width;
    const float* const from = pixels + point * row;
    float* const to = products + point * width;
    int64_t t = 0;
    for (; t + kRows <= tiles; t += kRows) {
      multiply<kRows>(from + t * pixel_step, pixel_step, w, c.channels, to + t * product_step,
                      product_step);
    }
    for (; t < tiles; t += kFewRows) {
      multiply<kFewRows>(from + t * pixel_step, pixel_step, w, c.channels, to + t * product_step,
                         product_step);
    }
  }
}

/// A^T m A of a tile's products, with bias and residual.
HWY_INLINE void write_tile(const WinogradConvolution& c, const WinogradMaps& maps, int64_t tile,
                           int64_t block, const float* products) {
  const TilePlace place(c, tile);
  const int64_t width = block_width(), first = block * width;
  const int64_t count = std::min(width, c.out_channels - first);
  const int64_t rows = std::min<int64_t>(kSide, c.out_height() - place.row);
  const int64_t columns = std::min<int64_t>(kSide, c.out_width() - place.column);
  const int64_t origin = (place.image * c.out_height() + place.row) * c.out_width() + place.column;
  for_channels(count, [&](auto d, int64_t o) HWY_ATTR {
    using V = hn::Vec<decltype(d)>;
    std::array<std::array<V, kSide>, kPoints> sides;
    for (size_t j = 0; j < kPoints; ++j) {
      std::array<V, kPoints> column;
      for (size_t i = 0; i < kPoints; ++i) {
        column[i] = hn::LoadU(d, products + static_cast<int64_t>(kPoints * i + j) * width + o);
      }
      transform_back(d, column, sides[j]);
    }
    const V bias = maps.bias == nullptr ? hn::Zero(d) : hn::LoadU(d, maps.bias + first + o);
    for (int64_t i = 0; i < rows; ++i) {
      const auto at = static_cast<size_t>(i);
      std::array<V, kSide> results;
      transform_back(
          d, {sides[0][at], sides[1][at], sides[2][at], sides[3][at], sides[4][at], sides[5][at]},
          results);
      for (int64_t j = 0; j < columns; ++j) {
        const int64_t to = (origin + i * c.out_width() + j) * c.out_channels + first + o;
        auto result = hn::Add(results[static_cast<size_t>(j)], bias);
        if (maps.residual != nullptr) result = hn::Add(result, hn::LoadU(d, maps.residual + to));
        hn::StoreU(result, d, maps.y + to);
      }
    }
  });
}

void finish_tiles(const WinogradConvolution& c, const WinogradMaps& maps,
                  const WinogradTiles& tiles, int64_t block, const float* pixels, float* products) {
  const int64_t width = block_width();
  multiply_block(c, maps.weight + block * kWinogradPoints * c.channels * width, tiles.count, pixels,
                 products);
  for (int64_t t = 0; t < tiles.count; ++t) {
    write_tile(c, maps, tiles.first + t, block, products + t * kWinogradPoints * width);
  }
}

}  // namespace ddpm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ddpm::cpu {

HWY_EXPORT(block_of_target);
HWY_EXPORT(rows_of_target);
HWY_EXPORT(transform_weight);
HWY_EXPORT(transform_tiles);
HWY_EXPORT(finish_tiles);

int64_t winograd_block() { return HWY_DYNAMIC_DISPATCH(block_of_target)(); }

int64_t winograd_rows() { return HWY_DYNAMIC_DISPATCH(rows_of_target)(); }

int64_t winograd_pixels_room(int64_t tiles, int64_t channels) {
  return round_up(tiles, winograd_rows()) * kWinogradPoints * row_numbers(channels);
}

int64_t winograd_products_room(int64_t tiles) {
  return round_up(tiles, winograd_rows()) * kWinogradPoints * winograd_block();
}

void transform_winograd_weight(const WinogradTaps& taps, int64_t block, int64_t begin, int64_t end,
                               float* to) {
  HWY_DYNAMIC_DISPATCH(transform_weight)(taps, block, begin, end, to);
}

void transform_winograd_pixels(const WinogradConvolution& convolution, const float* x,
                               const WinogradTiles& tiles, float* to) {
  HWY_DYNAMIC_DISPATCH(transform_tiles)(convolution, x, tiles, to);
}

void finish_winograd_tiles(const WinogradConvolution& convolution, const WinogradMaps& maps,
                           const WinogradTiles& tiles, int64_t block, const float* pixels,
                           float* products) {
  HWY_DYNAMIC_DISPATCH(finish_tiles)(convolution, maps, tiles, block, pixels, products);
}

}  // namespace ddpm::cpu
#endif
