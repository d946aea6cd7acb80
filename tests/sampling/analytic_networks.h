#pragma once

#include <ATen/ATen.h>

#include <cmath>

#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/sampling/denoise_fn.h"

namespace ddpm::testing {

/// A Gaussian over images, flattened: all of what a perfect network would learn from it is known.
struct GaussianData {
  Tensor mean;        ///< [D] float64.
  Tensor covariance;  ///< [D, D] float64.
};

/// Every pixel by itself, with one mean and one standard deviation.
inline GaussianData independent_pixels(int64_t pixels, double mean, double deviation) {
  return {at::full({pixels}, mean, at::kDouble),
          at::eye(pixels, at::kDouble) * (deviation * deviation)};
}

/// Neighbours along a row of `pixels` are alike: covariance deviation^2 correlation^distance.
inline GaussianData smooth_pixels(int64_t pixels, double mean, double deviation,
                                  double correlation) {
  const Tensor place = at::arange(pixels, at::kDouble);
  const Tensor distance = (place.unsqueeze(0) - place.unsqueeze(1)).abs();
  return {at::full({pixels}, mean, at::kDouble),
          at::pow(correlation, distance) * (deviation * deviation)};
}

/// E[x_0 | x_t] of Gaussian data, in float64: mean + sqrt(ab) S (ab S + (1 - ab) I)^-1 (x_t -
/// sqrt(ab) mean). One t for the whole batch. A rule for as_prediction.
inline DenoiseFn gaussian_x_start(const NoiseSchedule& schedule, const GaussianData& data) {
  return [=](const Tensor& x_t, const Tensor& t) {
    const double ab = schedule.alphas_cumprod[t[0].item<int64_t>()].item<double>();
    const Tensor x = x_t.reshape({x_t.size(0), -1}).to(at::kDouble);
    const Tensor noisy = data.covariance * ab + at::eye(x.size(1), at::kDouble) * (1 - ab);
    const Tensor gain = at::linalg_solve(noisy, data.covariance) * std::sqrt(ab);
    const Tensor x_start = data.mean + (x - data.mean * std::sqrt(ab)).mm(gain);
    return x_start.view_as(x_t).to(x_t.scalar_type());
  };
}

}  // namespace ddpm::testing
