#pragma once

#include <functional>

#include "ddpm/config/diffusion_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/sampling/denoise_fn.h"

namespace ddpm {

/// log p(y | x_t) of each image, [N], for the wanted y: a classifier of noisy images, or any other
/// function that LibTorch can differentiate. x_t [N, C, H, W] float32, t as in DenoiseFn.
using LogLikelihoodFn = std::function<Tensor(const Tensor& x_t, const Tensor& t)>;

/// Classifier guidance [Dhariwal & Nichol Alg. 2]: the network's noise, less the classifier's
/// gradient, whatever the network predicts:
///
///     eps -= sqrt(1 - alpha_bar) scale grad log p(y | x_t)
///     x_0 += (1 - alpha_bar) / sqrt(alpha_bar) scale grad log p(y | x_t)
///     v   -= sqrt((1 - alpha_bar) / alpha_bar) scale grad log p(y | x_t)
///
/// At scale 1 and with a perfect classifier, the samples are those of class y. Where alpha_bar is
/// 0, x_t says nothing about y and nothing is added.
///
/// @throws std::invalid_argument, when called, if log_likelihood's answer is not [N].
DenoiseFn classifier_guidance(const NoiseSchedule& schedule, PredictionType prediction,
                              double scale, const DenoiseFn& denoise,
                              const LogLikelihoodFn& log_likelihood);

/// alpha_bar of a batch's timesteps, whole or fractional: between two timesteps log(sigma) is a
/// straight line (level_at_timestep, for a batch).
///
/// @param t [N] int64 or floating, 0 <= t <= T - 1, on the schedule's device.
/// @return  [N] float64.
Tensor alpha_bars_at(const NoiseSchedule& schedule, const Tensor& t);

}  // namespace ddpm
