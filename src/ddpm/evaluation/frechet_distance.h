#pragma once

#include "ddpm/evaluation/feature_statistics.h"

namespace ddpm {

struct FrechetDistance {
  double distance = 0;         ///< The sum of the two terms, at least 0.
  double mean_term = 0;        ///< |mu_1 - mu_2|^2
  double covariance_term = 0;  ///< tr(S_1 + S_2 - 2 (S_1 S_2)^{1/2})
  /// At most as many images as features on one side: that covariance has directions without spread,
  /// and the distance is mostly the small number of images.
  bool rank_deficient = false;
};

/// The Frechet distance (squared 2-Wasserstein) of two Gaussians [Dowson & Landau 1982], which FID
/// takes of Inception's features [Heusel et al. 2017]:
///
///     |mu_1 - mu_2|^2 + tr(S_1 + S_2 - 2 (S_1 S_2)^{1/2})
///
/// in float64, where the trace of the root is the sum of the roots of the eigenvalues of the
/// symmetric S_1^{1/2} S_2 S_1^{1/2}, those that rounding made negative taken for 0. It falls with
/// the number of images: compare sets of equal size alone.
///
/// @throws std::invalid_argument if the widths differ, or a value is not finite.
FrechetDistance frechet_distance(const FeatureMoments& samples, const FeatureMoments& reference);

}  // namespace ddpm
