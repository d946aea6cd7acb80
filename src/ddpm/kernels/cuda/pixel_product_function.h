#pragma once

#include "ddpm/kernels/conv2d.h"

namespace ddpm::cuda {

/// True for a convolution that is a product of each pixel with a matrix: kernel 1, stride 1.
bool is_pixel_product(const Conv2dArgs& args);

/// conv2d of such a convolution, as one node of the autograd graph: matrix products, of x and
/// x_rest each with its part of the weight, so that the two are never copied side by side.
Tensor fused_pixel_product(const Conv2dArgs& args);

}  // namespace ddpm::cuda
