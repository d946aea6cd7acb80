#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm::cuda {

/// y += bias + residual in place, for channels_last maps; either may be undefined.
void add_to_map(const Tensor& y, const Tensor& bias, const Tensor& residual);

/// [C]: the sum of a channels_last map over images and pixels.
Tensor sum_of_pixels(const Tensor& map);

}  // namespace ddpm::cuda
