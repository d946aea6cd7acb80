#pragma once

#include <cstdint>

#include "ddpm/config/data_config.h"
#include "ddpm/data/image.h"

namespace ddpm {

/// Makes an image of any shape a square of size x size.
///
/// kCrop: the largest centred square (what is left over to the left and above is rounded down).
/// kPad: the whole image, centred on black. kStretch: each axis scaled by itself.
///
/// @throws std::invalid_argument if the image is empty, or size is below 1.
Image fit_square(const Image& image, int64_t size, FitPolicy policy, ResizeFilter filter);

/// The part of `image` of which (x, y) is the top left pixel.
Image crop_image(const Image& image, int64_t x, int64_t y, int64_t width, int64_t height);

/// Grey to RGB by repetition, RGB to grey by Rec. 601 luma: 0.299 R + 0.587 G + 0.114 B, rounded.
///
/// @param channels 1 or 3; the image's own leaves it as it is.
Image convert_channels(const Image& image, int64_t channels);

}  // namespace ddpm
