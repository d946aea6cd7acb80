#include "ddpm/training/power_ema.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <cmath>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

constexpr double kSmallestStd = 1e-4;

double relative_std(double gamma) {
  return std::sqrt((gamma + 1) / ((gamma + 2) * (gamma + 2) * (gamma + 3)));
}

/// The integral of the product of two averages' weights over time. Written with ratios of steps, so
/// that no power leaves the range of double.
double overlap(const PowerEma& a, const PowerEma& b) {
  const double end = std::min(a.step, b.step);
  return (a.gamma + 1) * (b.gamma + 1) / (a.gamma + b.gamma + 1) * std::pow(end / a.step, a.gamma) *
         std::pow(end / b.step, b.gamma) * end / (a.step * b.step);
}

}  // namespace

double power_ema_gamma(double std) {
  const double widest = relative_std(0);
  check_arg(std >= kSmallestStd && std <= widest,
            "[power_ema_gamma] std is out of range: expected ", kSmallestStd, " to ", widest,
            ", got ", std);
  double low = 0;
  double high = 1 / std;  // the width of gamma is below 1 / gamma, and falls as gamma grows
  while (true) {
    const double middle = 0.5 * (low + high);
    if (middle <= low || middle >= high) return middle;
    (relative_std(middle) > std ? low : high) = middle;
  }
}

Tensor power_ema_decay(double gamma, const Tensor& step) {
  return (1 - step.to(at::kDouble).reciprocal()).pow(gamma + 1);
}

std::vector<double> posthoc_weights(std::span<const PowerEma> saved, const PowerEma& wanted) {
  check_arg(!saved.empty(), "[posthoc_weights] expected at least one saved average, got none");
  const auto n = static_cast<int64_t>(saved.size());
  const Tensor products = at::empty({n, n}, at::kDouble);
  const Tensor right = at::empty({n}, at::kDouble);
  for (int64_t i = 0; i < n; ++i) {
    const PowerEma& row = saved[static_cast<size_t>(i)];
    right.mutable_data_ptr<double>()[i] = overlap(row, wanted);
    for (int64_t j = 0; j < n; ++j) {
      const PowerEma& column = saved[static_cast<size_t>(j)];
      check_arg(i == j || row.gamma != column.gamma || row.step != column.step,
                "[posthoc_weights] saved averages must differ: got step ", row.step, " and gamma ",
                row.gamma, " twice");
      products.mutable_data_ptr<double>()[i * n + j] = overlap(row, column);
    }
  }
  const Tensor factors = at::linalg_solve(products, right);
  const Tensor scaled = factors / factors.sum();
  const double* first = scaled.const_data_ptr<double>();
  return {first, first + n};
}

}  // namespace ddpm
