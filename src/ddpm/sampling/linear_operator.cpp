#include "ddpm/sampling/linear_operator.h"

#include <ATen/ATen.h>

#include <cmath>

#include "ddpm/core/check.h"

namespace ddpm {

LinearOperator box_reduction(int64_t factor) {
  check_arg(factor >= 1, "[box_reduction] factor: expected 1 or more, got ", factor);
  const auto apply = [factor](const Tensor& x) {
    check_arg(x.dim() == 4 && x.size(2) % factor == 0 && x.size(3) % factor == 0,
              "[box_reduction] height and width: expected multiples of ", factor, ", got ",
              x.sizes());
    return at::avg_pool2d(x, {factor, factor});
  };
  const auto repeat = [factor](const Tensor& y) {
    return y.repeat_interleave(factor, /*dim=*/2).repeat_interleave(factor, /*dim=*/3);
  };
  return {apply, repeat, 1 / static_cast<double>(factor)};
}

LinearOperator channel_mean(int64_t channels) {
  check_arg(channels >= 1, "[channel_mean] channels: expected 1 or more, got ", channels);
  const auto apply = [channels](const Tensor& x) {
    check_arg(x.dim() == 4 && x.size(1) == channels, "[channel_mean] x: expected ", channels,
              " channels, got ", x.sizes());
    return x.mean(/*dim=*/1, /*keepdim=*/true);
  };
  const auto repeat = [channels](const Tensor& y) { return y.repeat({1, channels, 1, 1}); };
  return {apply, repeat, 1 / std::sqrt(static_cast<double>(channels))};
}

LinearOperator pixel_mask(const Tensor& kept) {
  check_arg(kept.eq(0).logical_or(kept.eq(1)).all().item<bool>(),
            "[pixel_mask] kept: expected 0 and 1 only");
  const auto cut = [kept](const Tensor& x) { return x * kept; };
  return {cut, cut, 1};
}

}  // namespace ddpm
