// Loads, stores and functions of float32 vectors, compiled once for each instruction set.
#if defined(DDPM_KERNELS_CPU_VECTORS_INL_H_) == defined(HWY_TARGET_TOGGLE)
#ifdef DDPM_KERNELS_CPU_VECTORS_INL_H_
#undef DDPM_KERNELS_CPU_VECTORS_INL_H_
#else
#define DDPM_KERNELS_CPU_VECTORS_INL_H_
#endif

#include <bit>
#include <cstdint>
#include <hwy/highway.h>

HWY_BEFORE_NAMESPACE();
namespace ddpm::cpu::HWY_NAMESPACE {

namespace hn = hwy::HWY_NAMESPACE;

/// bfloat16 as it lies in memory: the upper half of a float32.
using Bf16 = uint16_t;

template <class D>
HWY_INLINE hn::Vec<D> load(D /*d*/, const float* from) {
  return hn::LoadU(D(), from);
}

template <class D>
HWY_INLINE hn::Vec<D> load(D d, const Bf16* from) {
  const hn::Rebind<uint16_t, D> halves;
  const hn::Rebind<uint32_t, D> words;
  return hn::BitCast(d, hn::ShiftLeft<16>(hn::PromoteTo(words, hn::LoadU(halves, from))));
}

template <class D>
HWY_INLINE void store(D d, hn::Vec<D> values, float* to) {
  hn::StoreU(values, d, to);
}

/// Rounds to nearest, ties to even. NaNs stay NaNs where, as here, they come from arithmetic or
/// from bfloat16: their lower half is zero.
template <class D>
HWY_INLINE void store(D /*d*/, hn::Vec<D> values, Bf16* to) {
  const hn::Rebind<uint16_t, D> halves;
  const hn::Rebind<uint32_t, D> words;
  const auto bits = hn::BitCast(words, values);
  const auto odd = hn::And(hn::ShiftRight<16>(bits), hn::Set(words, 1));
  const auto rounded = hn::Add(bits, hn::Add(odd, hn::Set(words, 0x7fff)));
  hn::StoreU(hn::TruncateTo(halves, hn::ShiftRight<16>(rounded)), halves, to);
}

HWY_INLINE float number(float value) { return value; }
HWY_INLINE float number(Bf16 value) { return std::bit_cast<float>(uint32_t{value} << 16); }
HWY_INLINE void put(float value, float* to) { *to = value; }
HWY_INLINE void put(float value, Bf16* to) {
  store(hn::CappedTag<float, 1>(), hn::Set(hn::CappedTag<float, 1>(), value), to);
}

/// exp(-x), for results that are rounded to T: relative error below 2e-7, or 1.1e-4 for bfloat16.
/// Saturates at 2^-125 and 2^125.
template <typename T, class D>
HWY_INLINE hn::Vec<D> exp_of_minus(D d, hn::Vec<D> x) {
  const hn::RebindToSigned<D> whole;
  const auto limit = hn::Set(d, 125.0F);
  const auto exponent =
      hn::Max(hn::Min(hn::Mul(x, hn::Set(d, -1.44269504F)), limit), hn::Neg(limit));
  // Beside 1.5 * 2^23 a float32 has no room for fractions: the sum's lowest bits are the nearest
  // integer.
  const auto large = hn::Set(d, 0x1.8p23F);
  const auto sum = hn::Add(exponent, large);
  const auto f = hn::Sub(exponent, hn::Sub(sum, large));  // in [-1/2, 1/2]: 2^f by a polynomial
  hn::Vec<D> p;
  if constexpr (sizeof(T) == sizeof(Bf16)) {
    p = hn::MulAdd(f, hn::Set(d, 0.0551716624F), hn::Set(d, 0.242611122F));
    p = hn::MulAdd(p, f, hn::Set(d, 0.693260986F));
    p = hn::MulAdd(p, f, hn::Set(d, 0.999928071F));
  } else {
    p = hn::MulAdd(f, hn::Set(d, 1.535336188e-4F), hn::Set(d, 1.339887440e-3F));
    p = hn::MulAdd(p, f, hn::Set(d, 9.618437358e-3F));
    p = hn::MulAdd(p, f, hn::Set(d, 5.550332471e-2F));
    p = hn::MulAdd(p, f, hn::Set(d, 0.2402264791F));
    p = hn::MulAdd(p, f, hn::Set(d, 0.6931472029F));
    p = hn::MulAdd(p, f, hn::Set(d, 1.0F));
  }
  return hn::BitCast(d, hn::Add(hn::BitCast(whole, p), hn::ShiftLeft<23>(hn::BitCast(whole, sum))));
}

/// 1 / (1 + exp(-x)), exact enough for T.
template <typename T, class D>
HWY_INLINE hn::Vec<D> sigmoid(D d, hn::Vec<D> x) {
  const auto one = hn::Set(d, 1.0F);
  const auto denominator = hn::Add(exp_of_minus<T>(d, x), one);
  if constexpr (sizeof(T) == sizeof(Bf16)) {
    const auto near = hn::ApproximateReciprocal(denominator);
    if constexpr (HWY_TARGET <= HWY_AVX3) return near;  // 14 bits
    return hn::Mul(near, hn::NegMulAdd(denominator, near, hn::Set(d, 2.0F)));
  } else {
    return hn::Div(one, denominator);
  }
}

/// Calls part(d, channel) for vectors that cover channels 0 to `channels` - 1, and for single
/// channels at the end.
template <class Part>
HWY_INLINE void for_channels(int64_t channels, Part&& part) {
  const hn::ScalableTag<float> d;
  const auto lanes = static_cast<int64_t>(hn::Lanes(d));
  int64_t c = 0;
  for (; c + lanes <= channels; c += lanes) part(d, c);
  for (; c < channels; ++c) part(hn::CappedTag<float, 1>(), c);
}

}  // namespace ddpm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#endif
