#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm {

/// The mean over each image's elements of (prediction - target)^2, computed in float32.
/// Differentiable, and free of host synchronisation. On a GPU, forward and backward are a pass each
/// unless the target's gradient is wanted; their sums have a fixed order.
///
/// @param prediction [N, ...] any floating dtype, [N, C, H, W] in any layout.
/// @param target     like prediction; its dtype may differ.
/// @return           [N] float32.
/// @throws std::invalid_argument if their shapes differ.
Tensor squared_error_per_image(const Tensor& prediction, const Tensor& target);

/// The mean over each image's elements.
/// @param values [N, ...], any layout.
/// @return       [N] of their dtype.
Tensor mean_of_images(const Tensor& values);

}  // namespace ddpm
