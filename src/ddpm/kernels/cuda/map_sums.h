#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm::cuda {

/// y += bias + residual + residual_bias in place, for channels_last maps; each may be undefined.
void add_to_map(const Tensor& y, const Tensor& bias, const Tensor& residual,
                const Tensor& residual_bias = {});

/// [C]: the sum of a channels_last map over images and pixels.
Tensor sum_of_pixels(const Tensor& map);

}  // namespace ddpm::cuda
