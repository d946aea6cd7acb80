#pragma once

#include <array>

#include "ddpm/kernels/conv2d.h"

namespace ddpm::cuda {

/// True for a convolution that is a product of each pixel with a matrix: kernel 1, stride 1.
bool is_pixel_product(const Conv2dArgs& args);

/// conv2d of such a convolution, as one node of the autograd graph: matrix products, of x and
/// x_rest each with its part of the weight, so that the two are never copied side by side.
Tensor fused_pixel_product(const Conv2dArgs& args);

/// Gradients of x, x_rest and the weight.
struct PixelProductGradients {
  Tensor x, x_rest, weight;
};

/// Those that are wanted, given that of the result.
///
/// @param d_y     [N, O, H, W] channels_last, as the maps.
/// @param product x, x_rest and weight count alone.
/// @param wanted  of x, x_rest and the weight.
PixelProductGradients pixel_product_gradients(const Tensor& d_y, const Conv2dArgs& product,
                                              const std::array<bool, 3>& wanted);

}  // namespace ddpm::cuda
