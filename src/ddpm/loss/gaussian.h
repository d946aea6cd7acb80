#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm {

/// KL(N(mean_q, exp(log_variance_q)) || N(mean_p, exp(log_variance_p))) of each element, in nats:
///
///     (log_variance_p - log_variance_q + exp(log_variance_q - log_variance_p)
///      + (mean_q - mean_p)^2 exp(-log_variance_p) - 1) / 2
///
/// All arguments broadcast; float32 or float64. Differentiable.
Tensor normal_kl(const Tensor& mean_q, const Tensor& log_variance_q, const Tensor& mean_p,
                 const Tensor& log_variance_p);

/// The standard normal distribution function by the tanh that the DDPM and Improved DDPM codes use,
/// at most 1.8e-4 from the exact one; published likelihoods are computed with it:
///
///     (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3))) / 2
Tensor approximate_normal_cdf(const Tensor& x);

/// log p(x) of each element under a Gaussian that is cut into the 256 pixel values, in nats
/// [DDPM Eq. 13], with approximate_normal_cdf as F:
///
///     log(F((x + 1/255 - mean) / s) - F((x - 1/255 - mean) / s)),  s = exp(log_variance / 2)
///
/// where the lowest pixel takes all that lies below it, and the highest all above. Probabilities
/// are at least 1e-12.
///
/// @param x pixels in [-1, 1], multiples of 1/127.5 away from -1; float32 or float64.
/// @param mean, log_variance like x, or broadcast to it.
/// @return  like x.
Tensor discretized_gaussian_log_likelihood(const Tensor& x, const Tensor& mean,
                                           const Tensor& log_variance);

}  // namespace ddpm
