#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/diffusion/posterior.h"

namespace ddpm {

/// The variational bound of -log p(x_0) is prior_bits_per_dim plus the sum of vlb_term over
/// t = 0 .. T-1 [DDPM Eq. 5]. All in bits per dimension: nats / (C H W log 2).

/// One timestep's share of the bound:
///
///     t > 0: KL(q(x_{t-1} | x_t, x_0) || p(x_{t-1} | x_t))     t = 0: -log p(x_0 | x_1)
///
/// q has q_posterior_mean and beta_tilde_t; p(x_0 | x_1) is cut into pixels
/// (discretized_gaussian_log_likelihood). Differentiable in p, without host synchronisation.
///
/// @param x_start [N, C, H, W] float32 or float64, pixels in [-1, 1].
/// @param x_t     like x_start.
/// @param t       [N] int64, 0 <= t < T.
/// @param p       of reverse_gaussian, at x_t.
/// @return        [N], x_start's dtype.
/// @throws std::invalid_argument if shapes don't agree, or T < 2.
Tensor vlb_term(const NoiseSchedule& schedule, const Tensor& x_start, const Tensor& x_t,
                const Tensor& t, const ReverseGaussian& p);

/// KL(q(x_{T-1} | x_0) || N(0, 1)): what the network can't change.
///
/// @param x_start [N, C, H, W] float32 or float64.
/// @return        [N], x_start's dtype.
Tensor prior_bits_per_dim(const NoiseSchedule& schedule, const Tensor& x_start);

}  // namespace ddpm
