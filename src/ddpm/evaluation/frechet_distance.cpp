#include "ddpm/evaluation/frechet_distance.h"

#include <ATen/ATen.h>

#include <algorithm>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

void check_moments(const char* name, const FeatureMoments& moments) {
  const bool finite = at::isfinite(moments.mean).all().item<bool>() &&
                      at::isfinite(moments.covariance).all().item<bool>();
  check_arg(finite, "[frechet_distance] features of the ", name,
            ": expected finite numbers, got NaN or infinity among them");
}

/// S^{1/2} of a symmetric S without negative eigenvalues but those of rounding.
Tensor symmetric_root(const Tensor& matrix) {
  const auto [values, vectors] = at::linalg_eigh(matrix);
  return (vectors * values.clamp_min(0).sqrt()).mm(vectors.t());
}

/// tr((S_1 S_2)^{1/2}).
double trace_of_root(const Tensor& first, const Tensor& second) {
  const Tensor root = symmetric_root(first);
  const Tensor product = root.mm(second).mm(root);
  const Tensor values = at::linalg_eigvalsh((product + product.t()) / 2);
  return values.clamp_min(0).sqrt().sum().item<double>();
}

}  // namespace

FrechetDistance frechet_distance(const FeatureMoments& samples, const FeatureMoments& reference) {
  const int64_t width = samples.mean.size(0);
  check_arg(width == reference.mean.size(0),
            "[frechet_distance] width of the reference's features: expected ", width, ", got ",
            reference.mean.size(0));
  check_moments("samples", samples);
  check_moments("reference", reference);
  FrechetDistance result;
  result.mean_term = (samples.mean - reference.mean).square().sum().item<double>();
  result.covariance_term =
      (samples.covariance.trace() + reference.covariance.trace()).item<double>() -
      2 * trace_of_root(samples.covariance, reference.covariance);
  result.distance = std::max(0.0, result.mean_term + result.covariance_term);
  result.rank_deficient = std::min(samples.count, reference.count) <= width;
  return result;
}

}  // namespace ddpm
