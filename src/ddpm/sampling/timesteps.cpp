#include "ddpm/sampling/timesteps.h"

#include <algorithm>
#include <cmath>
#include <stdexcept>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

/// start + index * stride, the product rounded to double before the sum. A fused multiply-add
/// would round some halves the other way than NumPy, whose lists diffusers takes.
double at_index(double start, double stride, int64_t index) {
  const volatile double offset = static_cast<double>(index) * stride;
  return start + offset;
}

int64_t round_to_even(double value) { return static_cast<int64_t>(std::nearbyint(value)); }

std::vector<int64_t> leading(int64_t num_timesteps, int64_t num_steps) {
  std::vector<int64_t> list;
  for (int64_t i = num_steps - 1; i >= 0; --i) list.push_back(i * (num_timesteps / num_steps));
  return list;
}

std::vector<int64_t> linspace(int64_t num_timesteps, int64_t num_steps) {
  std::vector<int64_t> list{num_timesteps - 1};
  const double stride = static_cast<double>(num_timesteps - 1) /
                        static_cast<double>(std::max(num_steps - 1, int64_t{1}));
  for (int64_t i = num_steps - 2; i >= 0; --i)
    list.push_back(round_to_even(at_index(0, stride, i)));
  return list;
}

std::vector<int64_t> trailing(int64_t num_timesteps, int64_t num_steps) {
  std::vector<int64_t> list;
  const auto start = static_cast<double>(num_timesteps);
  const double second = start - start / static_cast<double>(num_steps);
  for (int64_t i = 0; i < num_steps; ++i) {
    list.push_back(round_to_even(at_index(start, second - start, i)) - 1);
  }
  return list;
}

}  // namespace

std::vector<int64_t> make_timesteps(TimestepSpacing spacing, int64_t num_timesteps,
                                    int64_t num_steps) {
  check_arg(num_steps >= 1 && num_steps <= num_timesteps,
            "[make_timesteps] steps must be 1 or more and at most the schedule's timesteps: "
            "expected 1 to ",
            num_timesteps, ", got ", num_steps);
  switch (spacing) {
    case TimestepSpacing::kLeading:
      return leading(num_timesteps, num_steps);
    case TimestepSpacing::kLinspace:
      return linspace(num_timesteps, num_steps);
    case TimestepSpacing::kTrailing:
      return trailing(num_timesteps, num_steps);
  }
  throw std::logic_error("[make_timesteps] not a TimestepSpacing");
}

}  // namespace ddpm
