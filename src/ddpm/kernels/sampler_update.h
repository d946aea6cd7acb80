#pragma once

#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// One summand of a sampler's update.
struct UpdateTerm {
  Tensor value;            ///< [N, ...] float32 or float64.
  double coefficient = 0;  ///< Of all images.
};

/// The form that every step of every sampler of this project has: a sum, first term to last.
///
///     sum_k coefficient_k * value_k
///
/// @param terms one or more; values alike in shape, dtype and device.
/// @return      like the values.
/// @throws std::invalid_argument if there is no term, or a value is undefined, of half precision or
///         unlike the first one.
Tensor sampler_update(const std::vector<UpdateTerm>& terms);

/// As above, with a coefficient for each image and term, for a batch whose images stand at
/// different steps. A value whose coefficient is 0 does not count, whatever it holds; one that
/// counts for no image may be undefined. What an image becomes does not depend on the others.
///
/// @param values       K tensors [N, ...], the first one defined.
/// @param coefficients [N, K], image by image; rounded to the values' dtype.
Tensor sampler_update(const std::vector<Tensor>& values, at::ArrayRef<double> coefficients);

}  // namespace ddpm
