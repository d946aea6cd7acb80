#pragma once

#include "ddpm/kernels/pad.h"

namespace ddpm::cuda {

/// True for CUDA maps of bfloat16 or float32 whose number of channels is a multiple of 8.
bool pad_is_fused(const Tensor& x);

/// pad_right_and_bottom_fork by accesses of 16 bytes, forward and backward.
PadFork fused_pad(const Tensor& x);

}  // namespace ddpm::cuda
