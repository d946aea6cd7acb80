#pragma once

#include <cstdint>
#include <span>
#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// A power-function average of the weights after `step` steps [Karras et al. 2024, Sec. 3.1]: the
/// weights w(s) of step s count in proportion to s^gamma,
///
///     (gamma + 1) / step^(gamma + 1) * integral from 0 to step of s^gamma w(s) ds
struct PowerEma {
  double gamma = 0;
  double step = 0;
};

/// The exponent whose average has this relative width: the standard deviation of s / step under the
/// weights s^gamma is std [Karras et al. 2024, App. C]. It is the largest root of
///
///     g^3 + 7 g^2 + (16 - std^-2) g + 12 - std^-2
///
/// 0.05 gives 16.97, 0.10 gives 6.94.
///
/// @throws std::invalid_argument unless 0.0001 <= std <= sqrt(1/12), where gamma is 0.
double power_ema_gamma(double std);

/// How much the average keeps in its step number `step`, from 1: (1 - 1 / step)^(gamma + 1). So the
/// first step takes the weights whole.
///
/// @param step [] on the device; a step of 0 gives no number.
/// @return     [] float64.
Tensor power_ema_decay(double gamma, const Tensor& step);

/// The combination of saved averages that is nearest to another average [Karras et al. 2024, App.
/// C]: the least-squares fit of their weights over time, scaled to sum to 1.
///
/// @param saved  at least one, all different.
/// @param wanted a gamma of at least 0 and a step of at least 1.
/// @return       one factor for each of saved.
/// @throws std::invalid_argument if saved is empty, or has the same average twice.
std::vector<double> posthoc_weights(std::span<const PowerEma> saved, const PowerEma& wanted);

}  // namespace ddpm
