#pragma once

#include "ddpm/kernels/pad.h"

namespace ddpm::cuda {

/// True for CUDA maps of bfloat16 or float32 whose number of channels is a multiple of 8.
bool pad_is_fused(const Tensor& x);

/// pad_right_and_bottom_fork by accesses of 16 bytes, forward and backward.
PadFork fused_pad(const Tensor& x);

/// The map without its last row and column, plus d_skip like that; undefined: nothing.
Tensor cut_right_and_bottom(const Tensor& map, const Tensor& d_skip);
/// The map with a row of zeros above and a column of them to the left.
Tensor pad_left_and_top(const Tensor& map);

}  // namespace ddpm::cuda
