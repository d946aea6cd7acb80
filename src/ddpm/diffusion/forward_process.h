#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"

namespace ddpm {

/// The coefficients `table[t]`, ready to multiply a batch like `x`.
///
/// @param table [T] float64, one of NoiseSchedule's tables, on x's device.
/// @param t     [N] int64, 0 <= t < T, on x's device. Not checked: that would stall a GPU.
/// @param x     [N, ...] only its dtype, device and number of dimensions are used.
/// @return      [N, 1, ..., 1] x's dtype and device.
Tensor gather_at(const Tensor& table, const Tensor& t, const Tensor& x);

/// Draws x_t ~ q(x_t | x_0): the data after t + 1 noising steps, in one jump [DDPM Eq. 4].
///
///     x_t = sqrt(alpha_bar_t) * x_start + sqrt(1 - alpha_bar_t) * noise
///
/// @param x_start [N, C, H, W] float32 or float64, pixels in [-1, 1].
/// @param t       [N] int64, 0 <= t < T.
/// @param noise   like x_start, standard normal. The caller draws it, so that tests can fix it.
/// @return        like x_start.
/// @throws std::invalid_argument if noise's shape differs from x_start's, t is not [N], or the
///         dtype is half precision: there, early timesteps would get no noise at all.
Tensor q_sample(const NoiseSchedule& schedule, const Tensor& x_start, const Tensor& t,
                const Tensor& noise);

/// Draws x_t ~ q(x_t | x_{t-1}): one link of the noising chain [DDPM Eq. 2].
///
///     x_t = sqrt(1 - beta_t) * x_prev + sqrt(beta_t) * noise
///
/// @param x_prev x_{t-1}, where x_{-1} is x_start. Shapes, dtypes and errors as in q_sample.
Tensor q_step(const NoiseSchedule& schedule, const Tensor& x_prev, const Tensor& t,
              const Tensor& noise);

/// Throws std::invalid_argument in the name of `function` unless x is float32 or float64, `other`
/// has x's shape and t is [x.size(0)] int64. `other_name` is what the message calls `other`.
void check_batch(const char* function, const Tensor& x, const Tensor& t, const Tensor& other,
                 const char* other_name);

}  // namespace ddpm
