#include "ddpm/kernels/cpu/round_sums.h"

#undef HWY_TARGET_INCLUDE
#define HWY_TARGET_INCLUDE "ddpm/kernels/cpu/round_sums.cpp"
#include <hwy/foreach_target.h>
// After foreach_target.h.
#include <hwy/highway.h>

#include "ddpm/kernels/cpu/vectors-inl.h"

HWY_BEFORE_NAMESPACE();
namespace ddpm::cpu::HWY_NAMESPACE {

void round_rows(const float* sums, int64_t rows, int64_t width, int64_t channels,
                const SumsTarget& target) {
  for (int64_t row = 0; row < rows; ++row) {
    const float* const from = sums + row * width;
    const int64_t to = target.place(row);
    for_channels(channels, [&](auto d, int64_t c) HWY_ATTR {
      auto sum = hn::LoadU(d, from + c);
      if (target.bias != nullptr) sum = hn::Add(sum, load(d, target.bias + c));
      if (target.residual != nullptr) sum = hn::Add(sum, load(d, target.residual + to + c));
      store(d, sum, target.y + to + c);
    });
  }
}

}  // namespace ddpm::cpu::HWY_NAMESPACE
HWY_AFTER_NAMESPACE();

#if HWY_ONCE
namespace ddpm::cpu {

HWY_EXPORT(round_rows);

void round_sums(const float* sums, int64_t rows, int64_t width, int64_t channels,
                const SumsTarget& target) {
  HWY_DYNAMIC_DISPATCH(round_rows)(sums, rows, width, channels, target);
}

}  // namespace ddpm::cpu
#endif
