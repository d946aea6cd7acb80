#pragma once

#include <ATen/ATen.h>

#include <cmath>
#include <utility>
#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/sampling/levels.h"

namespace ddpm::testing {

/// One bell of a mixture.
struct Component {
  double weight, mean, deviation;
};

/// Pixels drawn from a mixture of Gaussians: the best network is known in closed form.
struct MixtureData {
  std::vector<Component> components;

  /// E[x_0 | x] at a level; x is of any shape, float64.
  Tensor expected_x_start(const Tensor& x, const NoiseLevel& level) const {
    const double a = level.alpha_bar;
    Tensor total = at::zeros_like(x);
    Tensor weights = at::zeros_like(x);
    for (const Component& c : components) {
      const double variance = a * c.deviation * c.deviation + 1 - a;
      const Tensor away = x - std::sqrt(a) * c.mean;
      const Tensor weight = c.weight / std::sqrt(variance) * (away * away / (-2 * variance)).exp();
      const double gain = c.deviation * c.deviation * std::sqrt(a) / variance;
      total += weight * (c.mean + gain * away);
      weights += weight;
    }
    return total / weights;
  }
};

inline MixtureData gaussian_data() { return {{{1.0, 0.3, 0.5}}}; }
inline MixtureData two_bells() { return {{{0.4, -0.6, 0.3}, {0.6, 0.5, 0.35}}}; }

/// The probability flow d x_edm / d log(sigma) = x_edm - E[x_0 | x_edm], by classical Runge-Kutta
/// in many small steps: what every deterministic sampler approaches. No part of the library's.
inline Tensor probability_flow(const MixtureData& data, const Tensor& x, const NoiseLevel& from,
                               const NoiseLevel& to, int num_steps = 1500) {
  const double first = std::log(edm_sigma(from.alpha_bar));
  const double step = (std::log(edm_sigma(to.alpha_bar)) - first) / num_steps;
  const auto slope = [&](const Tensor& x_edm, double log_sigma) {
    const NoiseLevel level{0, alpha_bar_of_sigma(std::exp(log_sigma))};
    return x_edm - data.expected_x_start(x_edm * signal_scale(level), level);
  };
  Tensor x_edm = x / signal_scale(from);
  for (int i = 0; i < num_steps; ++i) {
    const double at = first + i * step;
    const Tensor k1 = slope(x_edm, at);
    const Tensor k2 = slope(x_edm + step / 2 * k1, at + step / 2);
    const Tensor k3 = slope(x_edm + step / 2 * k2, at + step / 2);
    const Tensor k4 = slope(x_edm + step * k3, at + step);
    x_edm = x_edm + step / 6 * (k1 + 2 * k2 + 2 * k3 + k4);
  }
  return x_edm * signal_scale(to);
}

/// Levels in equal steps of log(sigma), not to the image. `graded`: the first step is cut into
/// steps that double from 2^-9 of it on, so that a multistep solver's first steps, which are of low
/// order for want of a history, do not count.
inline std::vector<NoiseLevel> smooth_levels(int num_steps, bool graded, double first = 6,
                                             double last = 0.1) {
  const double start = std::log(first);
  const double step = (std::log(last) - start) / num_steps;
  std::vector<double> positions{0};
  if (graded) {
    for (int k = 9; k > 0; --k) positions.push_back(std::ldexp(1.0, -k));
  }
  for (int i = 1; i <= num_steps; ++i) positions.push_back(i);
  std::vector<NoiseLevel> levels;
  for (const double position : positions) {
    const double sigma = std::exp(start + position * step);
    levels.push_back({0.0, alpha_bar_of_sigma(sigma)});
  }
  return levels;
}

}  // namespace ddpm::testing
