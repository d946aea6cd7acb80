#pragma once

#include "ddpm/config/diffusion_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"

namespace ddpm {

/// Shapes of all functions here: x_start, x_t, noise, eps, v and output are [N, C, H, W], float32
/// or float64; t is [N] int64, 0 <= t < T; the result is like the first of them. They throw
/// std::invalid_argument if shapes do not agree or the dtype is half precision.

/// v = sqrt(alpha_bar_t) * noise - sqrt(1 - alpha_bar_t) * x_start [Salimans & Ho, App. D].
Tensor velocity(const NoiseSchedule& schedule, const Tensor& x_start, const Tensor& t,
                const Tensor& noise);

/// What a network of this type should answer for x_t = q_sample(x_start, t, noise): noise, x_start,
/// v, or EDM's F (diffusion/edm.h).
Tensor training_target(const NoiseSchedule& schedule, PredictionType prediction,
                       const Tensor& x_start, const Tensor& t, const Tensor& noise);

/// x_start as the network's output implies it, not clipped:
///
///     epsilon:      x_t / sqrt(alpha_bar_t) - sqrt(1 / alpha_bar_t - 1) * output  [DDPM Eq. 15]
///     sample:       output
///     v_prediction: sqrt(alpha_bar_t) * x_t - sqrt(1 - alpha_bar_t) * output
///     edm:          c_skip x + c_out output, of edm_coefficients
///
/// @throws std::invalid_argument also for epsilon if the schedule has zero terminal SNR: eps at
///         alpha_bar = 0 says nothing about x_start.
Tensor predict_x_start(const NoiseSchedule& schedule, PredictionType prediction, const Tensor& x_t,
                       const Tensor& t, const Tensor& output);

/// The noise in x_t as the network's output implies it. Works at alpha_bar = 0 too.
///
///     epsilon:      output
///     sample, edm:  (x_t - sqrt(alpha_bar_t) * x_start) / sqrt(1 - alpha_bar_t)
///     v_prediction: sqrt(alpha_bar_t) * output + sqrt(1 - alpha_bar_t) * x_t
Tensor predict_eps(const NoiseSchedule& schedule, PredictionType prediction, const Tensor& x_t,
                   const Tensor& t, const Tensor& output);

/// The guess of x_start that a self-conditioned network is given beside x_t [Chen et al. 2023, Bit
/// Diffusion]: predict_x_start of its last output, clipped to [-1, 1], without gradient. Before
/// there is an output, the guess is zeros.
///
/// @param output [N, C, H, W], or [N, 2C, H, W] of which the second half, a variance, is left out.
/// @return       like x_t.
Tensor self_condition(const NoiseSchedule& schedule, PredictionType prediction, const Tensor& x_t,
                      const Tensor& t, const Tensor& output);

}  // namespace ddpm
