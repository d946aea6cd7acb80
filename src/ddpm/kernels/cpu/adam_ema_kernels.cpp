#include "ddpm/kernels/cpu/adam_ema_kernels.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ddpm/kernels/cpu/adam_ema_kernels.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include "ddpm/kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ddpm::cpu::HWY_NAMESPACE {

template <typename T>
double sum_squares_of(const T* grad, int64_t count) {
  const hn::ScalableTag<double> wide;
  const hn::Rebind<float, decltype(wide)> narrow;
  const auto lanes = static_cast<int64_t>(hn::Lanes(wide));
  auto even = hn::Zero(wide), odd = hn::Zero(wide);
  int64_t i = 0;
  for (; i + 2 * lanes <= count; i += 2 * lanes) {
    const auto a = hn::PromoteTo(wide, load(narrow, grad + i));
    const auto b = hn::PromoteTo(wide, load(narrow, grad + i + lanes));
    even = hn::MulAdd(a, a, even);
    odd = hn::MulAdd(b, b, odd);
  }
  double sum = hn::GetLane(hn::SumOfLanes(wide, hn::Add(even, odd)));
  for (; i < count; ++i) {
    const auto value = static_cast<double>(number(grad[i]));
    sum += value * value;
  }
  return sum;
}

double sum_squares(const void* grad, bool is_bf16, int64_t begin, int64_t end) {
  if (is_bf16) return sum_squares_of(static_cast<const Bf16*>(grad) + begin, end - begin);
  return sum_squares_of(static_cast<const float*>(grad) + begin, end - begin);
}

/// from + weight * (to - from), from the nearer end, so that weights 0 and 1 are exact.
template <class D>
HWY_INLINE hn::Vec<D> lerp(D d, hn::Vec<D> from, hn::Vec<D> to, float weight) {
  const auto way = hn::Sub(to, from);
  if (weight < 0.5F) return hn::MulAdd(hn::Set(d, weight), way, from);
  return hn::NegMulAdd(hn::Set(d, 1 - weight), way, to);
}

template <typename T>
HWY_INLINE void take_step(const AdamEmaArrays& arrays, const AdamEmaNumbers& n, const T* grad,
                          int64_t begin, int64_t end) {
  for_channels(end - begin, [&](auto d, int64_t offset) HWY_ATTR {
    const int64_t i = begin + offset;
    auto master = hn::LoadU(d, arrays.master + i);
    auto g = hn::Mul(load(d, grad + i), hn::Set(d, n.clip));
    if (n.weight_decay != 0.0F && n.decoupled_weight_decay) {
      master = hn::Mul(master, hn::Set(d, n.weight_factor));
    } else if (n.weight_decay != 0.0F) {
      g = hn::MulAdd(hn::Set(d, n.weight_decay), master, g);
    }
    const auto m = lerp(d, hn::LoadU(d, arrays.m + i), g, n.one_minus_beta1);
    const auto v = hn::MulAdd(hn::Mul(g, g), hn::Set(d, n.one_minus_beta2),
                              hn::Mul(hn::LoadU(d, arrays.v + i), hn::Set(d, n.beta2)));
    const auto root = hn::Div(hn::Sqrt(v), hn::Set(d, n.sqrt_bias2));
    const auto step = hn::Div(m, hn::Add(root, hn::Set(d, n.eps)));
    master = hn::NegMulAdd(step, hn::Set(d, n.step_size), master);
    hn::StoreU(m, d, arrays.m + i);
    hn::StoreU(v, d, arrays.v + i);
    hn::StoreU(master, d, arrays.master + i);
    hn::StoreU(lerp(d, hn::LoadU(d, arrays.ema + i), master, n.one_minus_ema), d, arrays.ema + i);
    if (arrays.weights != nullptr) store(d, master, arrays.weights + i);
  });
}

void update(const AdamEmaArrays& arrays, const AdamEmaNumbers& numbers, int64_t begin,
            int64_t end) {
  if (numbers.finite && arrays.grad_is_bf16) {
    take_step(arrays, numbers, static_cast<const Bf16*>(arrays.grad), begin, end);
  } else if (numbers.finite) {
    take_step(arrays, numbers, static_cast<const float*>(arrays.grad), begin, end);
  } else if (arrays.weights != nullptr) {
    for_channels(end - begin, [&](auto d, int64_t i) HWY_ATTR {
      store(d, hn::LoadU(d, arrays.master + begin + i), arrays.weights + begin + i);
    });
  }
}

}  // namespace ddpm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ddpm::cpu {

HWY_EXPORT(sum_squares);
HWY_EXPORT(update);

double sum_of_squares(const void* grad, bool is_bf16, int64_t begin, int64_t end) {
  return HWY_DYNAMIC_DISPATCH(sum_squares)(grad, is_bf16, begin, end);
}

void adam_ema_update(const AdamEmaArrays& arrays, const AdamEmaNumbers& numbers, int64_t begin,
                     int64_t end) {
  HWY_DYNAMIC_DISPATCH(update)(arrays, numbers, begin, end);
}

}  // namespace ddpm::cpu
#endif
