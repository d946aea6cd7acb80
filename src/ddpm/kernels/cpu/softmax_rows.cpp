#include "ddpm/kernels/cpu/softmax_rows.h"

#include <limits>

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ddpm/kernels/cpu/softmax_rows.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include "ddpm/kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ddpm::cpu::HWY_NAMESPACE {

/// The vectors that cover a row are full but for the single numbers at its end.
HWY_INLINE float maximum_of(const float* row, int64_t length) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  float most = -std::numeric_limits<float>::infinity();
  int64_t i = 0;
  if (length >= lanes) {
    auto all = hn::LoadU(d, row);
    for (i = lanes; i + lanes <= length; i += lanes) all = hn::Max(all, hn::LoadU(d, row + i));
    most = hn::GetLane(hn::MaxOfLanes(d, all));
  }
  for (; i < length; ++i) most = row[i] > most ? row[i] : most;
  return most;
}

HWY_INLINE float weigh_row(const float* row, int64_t length, float scale, Bf16* weights) {
  const hn::ScalableTag<float> whole;
  const float most = maximum_of(row, length);
  auto sum = hn::Zero(whole);
  float rest = 0;
  for_channels(length, [&](auto d, int64_t i) HWY_ATTR {
    const auto below = hn::Mul(hn::Sub(hn::Set(d, most), hn::LoadU(d, row + i)), hn::Set(d, scale));
    const auto weight = exp_of_minus<Bf16>(d, below);
    store(d, weight, weights + i);
    // A score that is no number makes none of the whole row.
    const auto counted = hn::MulAdd(below, hn::Zero(d), weight);
    if constexpr (hn::MaxLanes(d) == hn::MaxLanes(whole)) {
      sum = hn::Add(sum, counted);
    } else {
      rest += hn::GetLane(counted);
    }
  });
  return hn::GetLane(hn::SumOfLanes(whole, sum)) + rest;
}

void weigh_rows(const float* scores, int64_t rows, int64_t length, float scale, uint16_t* weights,
                float* factors) {
  for (int64_t row = 0; row < rows; ++row) {
    factors[row] = 1 / weigh_row(scores + row * length, length, scale, weights + row * length);
  }
}

void round_scaled(const float* sums, const float* factors, int64_t rows, int64_t width, uint16_t* y,
                  int64_t stride) {
  for (int64_t row = 0; row < rows; ++row) {
    for_channels(width, [&](auto d, int64_t c) HWY_ATTR {
      const auto sum = hn::LoadU(d, sums + row * width + c);
      store(d, hn::Mul(sum, hn::Set(d, factors[row])), y + row * stride + c);
    });
  }
}

}  // namespace ddpm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ddpm::cpu {

HWY_EXPORT(weigh_rows);
HWY_EXPORT(round_scaled);

void softmax_rows(const float* scores, int64_t rows, int64_t length, float scale, uint16_t* weights,
                  float* factors) {
  HWY_DYNAMIC_DISPATCH(weigh_rows)(scores, rows, length, scale, weights, factors);
}

void round_scaled_rows(const float* sums, const float* factors, int64_t rows, int64_t width,
                       uint16_t* y, int64_t stride) {
  HWY_DYNAMIC_DISPATCH(round_scaled)(sums, factors, rows, width, y, stride);
}

}  // namespace ddpm::cpu
#endif
