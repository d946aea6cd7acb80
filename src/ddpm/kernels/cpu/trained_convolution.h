#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/conv2d.h"

namespace ddpm::cpu {

/// True if trained_conv2d() takes it: in bfloat16 on a CPU with AMX, of kernels 1 and 3 and
/// channels that are multiples of 32, or in float32 what convolve_winograd() takes, from 1,024
/// pixels on; with x in one part and nothing before or beside it.
bool has_trained_conv2d(const Conv2dArgs& args);

/// conv2d() with its gradients, which have none themselves; bfloat16's are summed in float32 and
/// rounded once each.
Tensor trained_conv2d(const Conv2dArgs& args);

}  // namespace ddpm::cpu
