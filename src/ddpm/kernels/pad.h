#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm {

/// A map with zeros to the right and at the bottom: what a convolution of stride 2 reads there.
///
/// @param x [N, C, H, W] float.
/// @return  [N, C, H + 1, W + 1], channels_last.
Tensor pad_right_and_bottom(const Tensor& x);

/// What pad_right_and_bottom_fork answers.
struct PadFork {
  Tensor y;  ///< pad_right_and_bottom(x).
  Tensor x;  ///< x again.
};

/// For callers that read x again: a GPU adds the gradient of what they take from the answer in the
/// padding's own pass.
PadFork pad_right_and_bottom_fork(const Tensor& x);

}  // namespace ddpm
