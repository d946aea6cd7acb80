#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Mean and covariance of a set of feature vectors.
struct FeatureMoments {
  int64_t count = 0;  ///< N
  Tensor mean;        ///< [F] float64, on the CPU.
  Tensor covariance;  ///< [F, F] float64, on the CPU, with N - 1 in the denominator.
};

/// Gathers mean and covariance batch by batch, in float64 on the features' device [Chan et al.
/// 1983]: with d the difference of the means of batch b and of all before,
///
///     mean += n_b / (n + n_b) d        scatter += scatter_b + n n_b / (n + n_b) d d^T
///
/// No square of a mean is subtracted, so a large common offset loses nothing, and the order of the
/// batches changes rounding alone.
class FeatureStatistics {
 public:
  /// @param features [N, F] floating, N at least 1; the same F and device each time.
  /// @throws std::invalid_argument for another shape or F.
  void add(const Tensor& features);

  int64_t count() const { return count_; }

  /// @throws std::invalid_argument if fewer than 2 vectors were added.
  FeatureMoments moments() const;

 private:
  int64_t count_ = 0;
  Tensor mean_;     ///< [F] float64
  Tensor scatter_;  ///< [F, F] float64
};

}  // namespace ddpm
