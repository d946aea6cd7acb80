#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm {

struct KernelDistanceOptions {
  int64_t num_subsets = 100;
  int64_t subset_size = 1000;  ///< At most the images of the smaller set.
  uint64_t seed = 0;           ///< Of the subsets.
};

struct KernelDistance {
  double mean = 0;       ///< Over subsets. Its expectation does not depend on the number of images.
  double deviation = 0;  ///< Standard deviation over subsets; 0 for one.
};

/// The squared maximum mean discrepancy of two sets of features, unbiased, with the kernel
/// k(x, y) = (x . y / F + 1)^3, which KID takes of Inception's features [Binkowski et al. 2018]:
///
///     sum_{i != j} k(x_i, x_j) / (m (m - 1)) + the same of y - 2 sum_{i, j} k(x_i, y_j) / m^2
///
/// of random subsets of m images each, drawn without replacement.
///
/// @param samples   [N, F] floating; computed in float64 on its device.
/// @param reference [M, F] on the same device.
/// @throws std::invalid_argument if the widths differ, there is no subset, or subset_size is below
///         2 or above N or M.
KernelDistance kernel_distance(const Tensor& samples, const Tensor& reference,
                               const KernelDistanceOptions& options = {});

}  // namespace ddpm
