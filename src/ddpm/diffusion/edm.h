#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm {

/// EDM's preconditioning [EDM Sec. 5, Tab. 1] in the variables of the schedule. There the noise
/// level is sigma = sqrt((1 - alpha_bar) / alpha_bar), the noised data x_t / sqrt(alpha_bar), and
/// the denoiser, with s = sigma_data,
///
///     x_start = c_skip x + c_out F(c_in x, c_noise)
///
///     c_skip = s^2 / (sigma^2 + s^2)              c_in    = 1 / sqrt(sigma^2 + s^2)
///     c_out  = sigma s / sqrt(sigma^2 + s^2)      c_noise = log(sigma) / 4
///
/// With n = 1 - alpha_bar + alpha_bar s^2, the variance of x_t for data of variance s^2, this is
///
///     x_start = sqrt(alpha_bar) s^2 / n x_t + s sqrt((1 - alpha_bar) / n) F
///     F       = (sqrt(1 - alpha_bar) x_start / s - s sqrt(alpha_bar) noise) / sqrt(n)
///
/// where F sees x_t / sqrt(n). For s = 1 F is -v.
struct EdmCoefficients {
  Tensor x_start_from_x_t;     ///< sqrt(alpha_bar) s^2 / n
  Tensor x_start_from_output;  ///< s sqrt((1 - alpha_bar) / n)
  Tensor target_from_x_start;  ///< sqrt((1 - alpha_bar) / n) / s
  Tensor target_from_noise;    ///< -s sqrt(alpha_bar / n)
  Tensor input_scale;          ///< 1 / sqrt(n)
};

/// @param alpha_bar float64, any shape; the coefficients have it too.
EdmCoefficients edm_coefficients(double sigma_data, const Tensor& alpha_bar);

/// What an EDM network is asked.
struct EdmInput {
  Tensor x;        ///< like x_t: x_t / sqrt(n), of unit variance.
  Tensor c_noise;  ///< [N] float32: log(sigma) / 4, in the place of the timestep.
};

/// @param x_t       [N, C, H, W] float32.
/// @param alpha_bar [N] float64, each in (0, 1).
EdmInput edm_input(double sigma_data, const Tensor& x_t, const Tensor& alpha_bar);

}  // namespace ddpm
