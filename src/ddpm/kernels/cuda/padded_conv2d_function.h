#pragma once

#include "ddpm/kernels/conv2d.h"

namespace ddpm::cuda {

/// True for convolutions 3x3 of stride 2, padded on the right and at the bottom alone, of bf16 maps
/// of even sides with a bias and nothing else.
bool padded_conv2d_is_fused(const Conv2dArgs& args);

/// padded_conv2d_fork() without a padded map: of a map that is padded by two on all sides the same
/// results stand behind a first row and column, which are left out where the bias is added and the
/// next norm's sums are taken.
Conv2dFork fused_padded_conv2d(const Conv2dArgs& args);

}  // namespace ddpm::cuda
