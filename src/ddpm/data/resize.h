#pragma once

#include <cstdint>

#include "ddpm/config/data_config.h"
#include "ddpm/data/image.h"

namespace ddpm {

/// Resamples to width x height without aliasing, in float32, rounding once at the end.
///
/// kArea: each new pixel is the mean of the old ones under it, weighted by the part covered.
/// kBicubic: Keys' kernel with a = -1/2, stretched by the scale when it shrinks.
/// kAuto: kArea along an axis that shrinks, kBicubic along one that grows.
/// Pixel centres lie at i + 1/2; weights that fall outside are dropped and the rest sums to 1.
///
/// @throws std::invalid_argument if the image is empty, or a new side is below 1.
Image resize_image(const Image& image, int64_t width, int64_t height, ResizeFilter filter);

}  // namespace ddpm
