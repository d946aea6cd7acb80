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

/// log sigma_t^2 between the two fixed variances [IDDPM Eq. 15], with f = (v + 1) / 2:
///
///     f log(beta_t) + (1 - f) log(beta_tilde_t),  beta_tilde_1 in the place of beta_tilde_0
///
/// @param v [N, C, H, W] float32 or float64, the network's; nothing keeps it within [-1, 1].
/// @param t [N] int64, 0 <= t < T.
/// @return  like v.
/// @throws std::invalid_argument if T < 2.
Tensor learned_log_variance(const NoiseSchedule& schedule, const Tensor& v, const Tensor& t);

/// The output of a network with a learned variance, as views.
struct SplitOutput {
  Tensor prediction;  ///< [N, C, H, W]
  Tensor v;           ///< [N, C, H, W], of learned_log_variance.
};

/// @param output   [N, 2C, H, W].
/// @param channels C.
/// @throws std::invalid_argument if output has another number of channels.
SplitOutput split_output(const Tensor& output, int64_t channels);

/// p(x_{t-1} | x_t), a Gaussian of independent elements.
struct ReverseGaussian {
  Tensor mean;          ///< [N, C, H, W]
  Tensor log_variance;  ///< [N, C, H, W], or [N, 1, 1, 1] for a fixed variance.
};

/// p as the network's output implies it: q_posterior_mean of predict_x_start, which is not clipped,
/// with the variance that schedule.variance names (log_variance_table, or learned_log_variance).
///
/// @param x_t    [N, C, H, W] float32 or float64.
/// @param t      [N] int64, 0 <= t < T.
/// @param output like x_t; [N, 2C, H, W] for kLearnedRange.
/// @throws std::invalid_argument if shapes don't agree or T < 2, or as predict_x_start does.
ReverseGaussian reverse_gaussian(const NoiseSchedule& schedule, PredictionType prediction,
                                 const Tensor& x_t, const Tensor& t, const Tensor& output);

}  // namespace ddpm
