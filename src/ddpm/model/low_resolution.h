#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm {

// What a network that enlarges images is given beside x_t: the image of low resolution, enlarged
// [SR3 Sec. 2.4; ADM Sec. 3.1].

/// The mean of each square of factor x factor pixels.
///
/// @param images [N, C, H, W] float, H and W multiples of factor.
/// @return       [N, C, H / factor, W / factor].
/// @throws std::invalid_argument if factor is below 1 or does not divide the sides.
Tensor reduce_images(const Tensor& images, int64_t factor);

/// Bilinear interpolation between the centres of pixels; beyond the outer ones their value goes on.
///
/// @param images [N, C, h, w] float.
/// @return       [N, C, h factor, w factor].
Tensor enlarge_images(const Tensor& images, int64_t factor);

}  // namespace ddpm
