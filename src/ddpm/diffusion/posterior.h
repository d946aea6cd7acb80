#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"

namespace ddpm {

/// Mean of q(x_{t-1} | x_t, x_0) [DDPM Eq. 7]:
///
///     mu = sqrt(alpha_bar_{t-1}) beta_t / (1 - alpha_bar_t) * x_start
///        + sqrt(alpha_t) (1 - alpha_bar_{t-1}) / (1 - alpha_bar_t) * x_t
///
/// @param x_start [N, C, H, W] float32 or float64: the data, or a prediction of it.
/// @param x_t     like x_start.
/// @param t       [N] int64, 0 <= t < T.
/// @return        like x_start.
/// @throws std::invalid_argument if the shapes do not agree.
Tensor q_posterior_mean(const NoiseSchedule& schedule, const Tensor& x_start, const Tensor& x_t,
                        const Tensor& t);

/// What a table of variances holds at t = 0, where beta_tilde is 0 and has no logarithm.
enum class FirstVariance {
  kAsDefined,       ///< beta_tilde_0 = 0, or beta_0.
  kFromSecondStep,  ///< beta_tilde_1 for both types, as the DDPM code does it.
};

/// Variances of p(x_{t-1} | x_t): beta_tilde_t (fixed_small) or beta_t (fixed_large).
///
/// @return [T] float64.
/// @throws std::invalid_argument for kFromSecondStep if T < 2, or for kLearnedRange.
Tensor variance_table(const NoiseSchedule& schedule, VarianceType type, FirstVariance first);

/// log(variance_table(kFromSecondStep)): finite at every t. Likelihoods and learned variances use
/// this one. Same shape and errors.
Tensor log_variance_table(const NoiseSchedule& schedule, VarianceType type);

}  // namespace ddpm
