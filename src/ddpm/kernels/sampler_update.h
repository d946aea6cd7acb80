#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm {

/// One reverse step in the form that every sampler of this project reduces to, in float32:
///
///     x_prev = coef_x_start * pred_x_start + coef_x_t * x_t + sigma * noise
///
/// @param x_t          [N, C, H, W] float32.
/// @param pred_x_start like x_t.
/// @param noise        like x_t, standard normal; may be undefined where sigma is 0.
/// @return             like x_t.
/// @throws std::invalid_argument if a shape or dtype disagrees, or noise is undefined and sigma
///         is not 0.
Tensor sampler_update(const Tensor& x_t, const Tensor& pred_x_start, const Tensor& noise,
                      double coef_x_start, double coef_x_t, double sigma);

/// Coefficients of one step for each image of a batch, whose images may stand at different steps.
struct StepCoefficients {
  Tensor coef_x_start;  ///< [N] float32 or float64; rounded to float32.
  Tensor coef_x_t;      ///< [N]
  Tensor sigma;         ///< [N]; undefined: 0 for all.
};

/// As above, with coefficients for each image. An image whose sigma is 0 takes no noise in,
/// whatever noise holds for it.
Tensor sampler_update(const Tensor& x_t, const Tensor& pred_x_start, const Tensor& noise,
                      const StepCoefficients& coefficients);

}  // namespace ddpm
