#pragma once

#include <cstdint>
#include <vector>

#include "ddpm/config/diffusion_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"

namespace ddpm {

/// One step of a sampler, from timestep t to t_prev, as numbers: everything but the images.
///
///     pred_x_start = clip(x_start_from_x_t * x_t + x_start_from_output * output)
///     x_prev       = coef_x_start * pred_x_start + coef_x_t * x_t + sigma * noise
///
/// The second line holds eps only as (x_t - sqrt(alpha_bar) pred_x_start) / sqrt(1 - alpha_bar),
/// so it is always the eps that belongs to the clipped pred_x_start.
struct SamplerStep {
  int64_t t = 0;
  int64_t t_prev = -1;          ///< -1 for the last step, which leads to x_0.
  double alpha_bar = 0.0;       ///< alpha_bar_t.
  double alpha_bar_prev = 1.0;  ///< alpha_bar at t_prev; 1 for the last step.
  double x_start_from_x_t = 0.0;
  double x_start_from_output = 0.0;
  double coef_x_start = 0.0;
  double coef_x_t = 0.0;
  double sigma = 0.0;  ///< Always 0 for the last step, whatever its timestep.
};

/// The number of steps that `options` asks for: options.steps, or where that is 0, T for ddpm and
/// min(50, T) for ddim.
///
/// @throws std::invalid_argument if steps is negative or above num_timesteps.
int64_t count_sampler_steps(const SamplerOptions& options, int64_t num_timesteps);

/// All steps of a sampler, first to last. With a = alpha_bar_t, p = alpha_bar_prev and
/// beta = 1 - a / p, recomputed from the list, so that strided steps are right:
///
///     ddpm: coef_x_start = sqrt(p) beta / (1 - a), coef_x_t = sqrt(a / p) (1 - p) / (1 - a),
///           sigma^2 = beta (1 - p) / (1 - a) (fixed_small) or beta (fixed_large)  [DDPM Eq. 7]
///     ddim: sigma = eta sqrt((1 - p) / (1 - a)) sqrt(1 - a / p)                   [DDIM Eq. 16]
///           coef_x_t = sqrt(1 - p - sigma^2) / sqrt(1 - a),
///           coef_x_start = sqrt(p) - sqrt(a) coef_x_t                             [DDIM Eq. 12]
///
/// @throws std::invalid_argument if an option leaves its range, steps exceeds T, or the schedule
///         has zero terminal SNR and the prediction is epsilon or the list does not begin at T-1.
std::vector<SamplerStep> make_sampler_steps(const NoiseSchedule& schedule,
                                            PredictionType prediction,
                                            const SamplerOptions& options);

/// x_start clipped as `options` say: not at all, to [-1, 1], or by dynamic thresholding, where
/// s = the dynamic_ratio quantile of the image's |x_start|, limited to [1, dynamic_max], and the
/// result is clamp(x_start, -s, s) / s [Imagen Sec. 2.3].
///
/// @param x_start [N, ...] float32.
Tensor clip_x_start(const SamplerOptions& options, const Tensor& x_start);

/// What one step gives.
struct SamplerStepResult {
  Tensor x_prev;        ///< like x_t.
  Tensor pred_x_start;  ///< like x_t, after clipping.
};

/// Takes one step. A pure function: all randomness is in `noise`.
///
/// @param x_t    [N, C, H, W] float32.
/// @param output like x_t, any floating dtype: the network's answer for (x_t, step.t).
/// @param noise  like x_t, standard normal; may be undefined where step.sigma is 0.
/// @throws std::invalid_argument if output's shape differs from x_t's, or noise is missing.
SamplerStepResult sampler_step(const SamplerStep& step, const SamplerOptions& options,
                               const Tensor& x_t, const Tensor& output, const Tensor& noise);

/// The eps that belongs to pred_x_start: (x_t - sqrt(alpha_bar) pred_x_start) / sqrt(1 -
/// alpha_bar).
Tensor eps_of_step(const SamplerStep& step, const Tensor& x_t, const Tensor& pred_x_start);

}  // namespace ddpm
