#include "ddpm/kernels/cpu/winograd_gradient_tiles.h"

#include <array>

// Arrays of vectors stand in registers here, which a vector of unknown length can't.
#define HWY_DISABLED_TARGETS (HWY_SVE | HWY_SVE2 | HWY_SVE_256 | HWY_SVE2_128 | HWY_RVV)
#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ddpm/kernels/cpu/winograd_gradient_tiles.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include "ddpm/kernels/cpu/vectors-inl.h"
#include "ddpm/kernels/cpu/winograd-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ddpm::cpu::HWY_NAMESPACE {

static_assert(kWinogradIn % kFewRows == 0 &&
              kWinogradOut % static_cast<int64_t>(2 * hn::MaxLanes(Whole())) == 0);

/// A y along one side.
template <class D>
HWY_INLINE void spread_side(D d, const std::array<hn::Vec<D>, kSide>& y,
                            std::array<hn::Vec<D>, kPoints>& to) {
  const auto inner = hn::MulAdd(hn::Set(d, 0.5F), y[2], y[0]);
  const auto inner_odd =
      hn::MulAdd(hn::Set(d, kHalfRoot / 2), y[3], hn::Mul(hn::Set(d, kHalfRoot), y[1]));
  const auto outer = hn::MulAdd(hn::Set(d, 2.0F), y[2], y[0]);
  const auto outer_odd = hn::MulAdd(hn::Set(d, 2 * kRoot), y[3], hn::Mul(hn::Set(d, kRoot), y[1]));
  to = {y[0],
        hn::Add(inner, inner_odd),
        hn::Sub(inner, inner_odd),
        hn::Add(outer, outer_odd),
        hn::Sub(outer, outer_odd),
        y[3]};
}

/// G^T m along one side.
template <class D>
HWY_INLINE void gather_taps(D d, const std::array<hn::Vec<D>, kPoints>& m,
                            std::array<hn::Vec<D>, 3>& to) {
  const auto inner = hn::Add(m[1], m[2]), inner_odd = hn::Sub(m[1], m[2]);
  const auto outer = hn::Add(m[3], m[4]), outer_odd = hn::Sub(m[3], m[4]);
  const auto third = hn::Set(d, 1.0F / 3);
  to = {hn::MulAdd(hn::Set(d, 1.0F / 6), outer, hn::NegMulAdd(hn::Set(d, 2.0F / 3), inner, m[0])),
        hn::MulSub(hn::Set(d, kRoot / 6), outer_odd, hn::Mul(hn::Set(d, kRoot / 3), inner_odd)),
        hn::MulAdd(third, hn::Sub(outer, inner), m[5])};
}

/// A dY A^T of `channels` channels behind d_y: [tiles, 36, row_numbers(channels)].
HWY_INLINE void spread_gradients(const WinogradConvolution& c, const float* d_y, int64_t channels,
                                 const WinogradTiles& tiles, float* to) {
  const int64_t row = row_numbers(channels);
  for (int64_t t = 0; t < tiles.count; ++t) {
    const TilePlace place(c, tiles.first + t);
    const int64_t rows = c.out_height() - place.row, columns = c.out_width() - place.column;
    const float* const from =
        d_y + ((place.image * c.out_height() + place.row) * c.out_width() + place.column) *
                  c.out_channels;
    float* const tile = to + t * kWinogradPoints * row;
    for_channels(channels, [&](auto d, int64_t channel) HWY_ATTR {
      using V = hn::Vec<decltype(d)>;
      std::array<std::array<V, kPoints>, kSide> sides;
      for (int64_t j = 0; j < kSide; ++j) {
        std::array<V, kSide> column;
        for (int64_t i = 0; i < kSide; ++i) {
          const bool is_inside = i < rows && j < columns;
          const int64_t at = (i * c.out_width() + j) * c.out_channels + channel;
          column[static_cast<size_t>(i)] = is_inside ? hn::LoadU(d, from + at) : hn::Zero(d);
        }
        spread_side(d, column, sides[static_cast<size_t>(j)]);
      }
      for (size_t i = 0; i < kPoints; ++i) {
        std::array<V, kPoints> points;
        spread_side(d, {sides[0][i], sides[1][i], sides[2][i], sides[3][i]}, points);
        for (size_t j = 0; j < kPoints; ++j) {
          hn::StoreU(points[j], d, tile + static_cast<int64_t>(kPoints * i + j) * row + channel);
        }
      }
    });
  }
}

/// Of kCount input channels at one point: adds [kCount, tiles] times [tiles, 2 vectors].
template <int kCount>
HWY_INLINE void add_products(const float* pixels, int64_t pixel_step, const float* gradients,
                             int64_t gradient_step, int64_t tiles, float* sums) {
  const Whole d;
  const size_t lanes = hn::Lanes(d);
  hn::Vec<Whole> totals[kCount][2];
  for (int64_t r = 0; r < kCount; ++r) {
    totals[r][0] = hn::LoadU(d, sums + r * kWinogradOut);
    totals[r][1] = hn::LoadU(d, sums + r * kWinogradOut + lanes);
  }
  for (int64_t t = 0; t < tiles; ++t, pixels += pixel_step, gradients += gradient_step) {
    const auto g0 = hn::LoadU(d, gradients), g1 = hn::LoadU(d, gradients + lanes);
    for (int64_t r = 0; r < kCount; ++r) {
      const auto x = hn::Set(d, pixels[r]);
      totals[r][0] = hn::MulAdd(x, g0, totals[r][0]);
      totals[r][1] = hn::MulAdd(x, g1, totals[r][1]);
    }
  }
  for (int64_t r = 0; r < kCount; ++r) {
    hn::StoreU(totals[r][0], d, sums + r * kWinogradOut);
    hn::StoreU(totals[r][1], d, sums + r * kWinogradOut + lanes);
  }
}

void add_tiles(const WinogradGradient& gradient, const WinogradBlock& block,
               const WinogradTiles& tiles, float* room, float* sums) {
  const int64_t in_row = row_numbers(block.in), out_row = row_numbers(block.out);
  const int64_t pixel_step = kWinogradPoints * in_row, gradient_step = kWinogradPoints * out_row;
  float* const pixels = room;
  float* const gradients = pixels + tiles.count * pixel_step;
  transform_pixels(gradient.convolution, gradient.x + block.first_in, block.in, tiles, pixels);
  spread_gradients(gradient.convolution, gradient.d_y + block.first_out, block.out, tiles,
                   gradients);
  for (int64_t point = 0; point < kWinogradPoints; ++point) {
    float* const point_sums = sums + point * kWinogradPointSums;
    for (int64_t o = 0; o < block.out; o += block_width()) {
      const float* const g = gradients + point * out_row + o;
      const float* const x = pixels + point * in_row;
      int64_t c = 0;
      for (; c + kRows <= block.in; c += kRows) {
        add_products<kRows>(x + c, pixel_step, g, gradient_step, tiles.count,
                            point_sums + c * kWinogradOut + o);
      }
      for (; c < block.in; c += kFewRows) {
        add_products<kFewRows>(x + c, pixel_step, g, gradient_step, tiles.count,
                               point_sums + c * kWinogradOut + o);
      }
    }
  }
}

void finish_sums(const WinogradConvolution& convolution, const WinogradBlock& block,
                 const float* sums, int64_t parts, int64_t part_step, float* d_weight) {
  for (int64_t c = 0; c < block.in; ++c) {
    float* const to = d_weight + (block.first_in + c) * convolution.out_channels + block.first_out;
    for_channels(block.out, [&](auto d, int64_t o) HWY_ATTR {
      using V = hn::Vec<decltype(d)>;
      const float* const from = sums + c * kWinogradOut + o;
      std::array<std::array<V, 3>, kPoints> columns;
      for (int64_t j = 0; j < kPoints; ++j) {
        std::array<V, kPoints> column;
        for (int64_t i = 0; i < kPoints; ++i) {
          const float* const point = from + (kPoints * i + j) * kWinogradPointSums;
          auto sum = hn::LoadU(d, point);
          for (int64_t part = 1; part < parts; ++part) {
            sum = hn::Add(sum, hn::LoadU(d, point + part * part_step));
          }
          column[static_cast<size_t>(i)] = sum;
        }
        gather_taps(d, column, columns[static_cast<size_t>(j)]);
      }
      for (size_t i = 0; i < 3; ++i) {
        std::array<V, 3> taps;
        gather_taps(d,
                    {columns[0][i], columns[1][i], columns[2][i], columns[3][i], columns[4][i],
                     columns[5][i]},
                    taps);
        for (size_t j = 0; j < 3; ++j) {
          const auto tap = static_cast<int64_t>(3 * i + j);
          hn::StoreU(taps[j], d, to + tap * convolution.channels * convolution.out_channels + o);
        }
      }
    });
  }
}

}  // namespace ddpm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ddpm::cpu {

HWY_EXPORT(add_tiles);
HWY_EXPORT(finish_sums);

int64_t winograd_gradient_room(int64_t tiles) {
  return tiles * kWinogradPoints * (row_numbers(kWinogradIn) + row_numbers(kWinogradOut));
}

void add_winograd_products(const WinogradGradient& gradient, const WinogradBlock& block,
                           const WinogradTiles& tiles, float* room, float* sums) {
  HWY_DYNAMIC_DISPATCH(add_tiles)(gradient, block, tiles, room, sums);
}

void finish_winograd_gradient(const WinogradConvolution& convolution, const WinogradBlock& block,
                              const float* sums, int64_t parts, int64_t part_step,
                              float* d_weight) {
  HWY_DYNAMIC_DISPATCH(finish_sums)(convolution, block, sums, parts, part_step, d_weight);
}

}  // namespace ddpm::cpu
#endif
