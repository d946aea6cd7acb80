#pragma once

#include <limits>
#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// One summand of a sampler's update.
struct UpdateTerm {
  Tensor value;            ///< [N, ...] float32 or float64.
  double coefficient = 0;  ///< Of all images.
};

inline constexpr double kUnclipped = std::numeric_limits<double>::infinity();

/// The form that every step of every sampler of this project has: a sum, first term to last, and
/// predictions of x_start clipped to a range.
///
///     clip(sum_k coefficient_k * value_k, -clip_range, clip_range)
///
/// @param terms      one or more; values alike in shape, dtype and device.
/// @param clip_range positive. NaN stays NaN.
/// @return           like the values.
/// @throws std::invalid_argument if there is no term, or a value is undefined, of half precision or
///         unlike the first one.
Tensor sampler_update(const std::vector<UpdateTerm>& terms, double clip_range = kUnclipped);

/// As above, with a coefficient for each image and term, for a batch whose images stand at
/// different steps. A value whose coefficient is 0 does not count, whatever it holds; one that
/// counts for no image may be undefined. What an image becomes does not depend on the others.
///
/// @param values       K tensors [N, ...], the first one defined.
/// @param coefficients [N, K], image by image; on a GPU rounded to the values' dtype.
Tensor sampler_update(const std::vector<Tensor>& values, at::ArrayRef<double> coefficients,
                      double clip_range = kUnclipped);

}  // namespace ddpm
