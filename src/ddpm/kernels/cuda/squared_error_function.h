#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm::cuda {

/// True for a prediction in bfloat16 or float32 and a float32 target without a gradient, both on a
/// GPU.
bool squared_error_is_fused(const Tensor& prediction, const Tensor& target);

/// squared_error_per_image as one kernel, two where an image has more than 16384 elements.
Tensor fused_squared_error(const Tensor& prediction, const Tensor& target);

}  // namespace ddpm::cuda
