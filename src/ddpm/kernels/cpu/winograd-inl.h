// What Winograd's convolutions and their gradients do alike, compiled once for each instruction
// set.
#ifndef DDPM_KERNELS_CPU_WINOGRAD_INL_H_ONCE
#define DDPM_KERNELS_CPU_WINOGRAD_INL_H_ONCE

#include <array>
#include <cstdint>

#include "ddpm/kernels/cpu/integers.h"
#include "ddpm/kernels/cpu/winograd_shapes.h"

namespace ddpm::cpu {

inline constexpr int kPoints = 6;  // of a side
inline constexpr int kSide = kWinogradSide;
inline constexpr float kRoot = 1.41421356237309504880F;  // of 2, and of 1/2
inline constexpr float kHalfRoot = 0.70710678118654752440F;
// Numbers behind a row: they keep rows of a power of two apart in the caches, and a product of
// whole vectors reads up to twice as many as the longest vector has beyond its channels.
inline constexpr int64_t kSkew = 16;

inline int64_t row_numbers(int64_t channels) { return round_up(channels, kSkew) + kSkew; }

/// A tile's place: its image and the first row and column of its results.
struct TilePlace {
  int64_t image, row, column;

  TilePlace(const WinogradConvolution& c, int64_t tile) {
    const int64_t across = c.tiles_across(), each = across * c.tiles_down();
    image = tile / each;
    row = tile % each / across * kSide;
    column = tile % across * kSide;
  }
};

}  // namespace ddpm::cpu

#endif

#if defined(DDPM_KERNELS_CPU_WINOGRAD_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DDPM_KERNELS_CPU_WINOGRAD_INL_H_
#undef DDPM_KERNELS_CPU_WINOGRAD_INL_H_
#else
#define DDPM_KERNELS_CPU_WINOGRAD_INL_H_
#endif

#include <hwy/highway.h>

#include "ddpm/kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ddpm::cpu::HWY_NAMESPACE {

// Of a product: two vectors of output channels, and as many tiles as leave registers for them.
#if HWY_ARCH_X86
constexpr int kRows = HWY_TARGET <= HWY_AVX3 ? 12 : 6;
#else
constexpr int kRows = 12;
#endif
constexpr int kFewRows = kRows / 3;

using Whole = hn::ScalableTag<float>;
static_assert(hn::MaxLanes(Whole()) <= kSkew);  // round_up(n, 2 lanes) <= row_numbers(n)

HWY_INLINE int64_t block_width() { return 2 * static_cast<int64_t>(hn::Lanes(Whole())); }

/// B^T x along one side.
template <class D>
HWY_INLINE void transform_side(D d, const std::array<hn::Vec<D>, kPoints>& x,
                               std::array<hn::Vec<D>, kPoints>& to) {
  const auto root = hn::Set(d, kRoot), half_root = hn::Set(d, kHalfRoot);
  const auto middle = hn::Set(d, 2.5F);
  const auto inner = hn::NegMulAdd(hn::Set(d, 2.0F), x[2], x[4]);
  const auto inner_odd = hn::NegMulAdd(root, x[1], hn::Mul(half_root, x[3]));
  const auto outer = hn::NegMulAdd(hn::Set(d, 0.5F), x[2], x[4]);
  const auto outer_odd = hn::NegMulAdd(half_root, x[1], hn::Mul(root, x[3]));
  to = {hn::NegMulAdd(middle, x[2], hn::Add(x[0], x[4])),
        hn::Add(inner, inner_odd),
        hn::Sub(inner, inner_odd),
        hn::Add(outer, outer_odd),
        hn::Sub(outer, outer_odd),
        hn::NegMulAdd(middle, x[3], hn::Add(x[1], x[5]))};
}

/// The 6x6 pixels that a tile reads; those beyond the map are null.
HWY_INLINE std::array<const float*, kWinogradPoints> pixels_of(const WinogradConvolution& c,
                                                               const float* x, int64_t tile) {
  const TilePlace place(c, tile);
  const int shift = c.is_upsampled ? 1 : 0;
  const int64_t first_row = place.image * (c.height >> shift), width = c.width >> shift;
  std::array<const float*, kWinogradPoints> pixels;
  for (int64_t i = 0; i < kPoints; ++i) {
    const int64_t row = place.row + i - c.padding;
    const int64_t row_pixel = (first_row + (row >> shift)) * width;
    for (int64_t j = 0; j < kPoints; ++j) {
      const int64_t column = place.column + j - c.padding;
      const bool is_inside = row >= 0 && row < c.height && column >= 0 && column < c.width;
      const int64_t at = row_pixel + (column >> shift);
      pixels[static_cast<size_t>(kPoints * i + j)] = is_inside ? x + at * c.channels : nullptr;
    }
  }
  return pixels;
}

/// B^T d B of `channels` channels behind x: [tiles, 36, row_numbers(channels)].
HWY_INLINE void transform_pixels(const WinogradConvolution& c, const float* x, int64_t channels,
                                 const WinogradTiles& tiles, float* to) {
  const int64_t row = row_numbers(channels), tile_numbers = kWinogradPoints * row;
  for (int64_t t = 0; t < tiles.count; ++t) {
    const auto pixels = pixels_of(c, x, tiles.first + t);
    float* const tile = to + t * tile_numbers;
    for_channels(channels, [&](auto d, int64_t channel) HWY_ATTR {
      using V = hn::Vec<decltype(d)>;
      std::array<std::array<V, kPoints>, kPoints> columns;
      for (size_t j = 0; j < kPoints; ++j) {
        std::array<V, kPoints> column;
        for (size_t i = 0; i < kPoints; ++i) {
          const float* const pixel = pixels[kPoints * i + j];
          column[i] = pixel == nullptr ? hn::Zero(d) : hn::LoadU(d, pixel + channel);
        }
        transform_side(d, column, columns[j]);
      }
      for (size_t i = 0; i < kPoints; ++i) {
        std::array<V, kPoints> points;
        transform_side(d,
                       {columns[0][i], columns[1][i], columns[2][i], columns[3][i], columns[4][i],
                        columns[5][i]},
                       points);
        for (size_t j = 0; j < kPoints; ++j) {
          hn::StoreU(points[j], d, tile + static_cast<int64_t>(kPoints * i + j) * row + channel);
        }
      }
    });
  }
}

}  // namespace ddpm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
