#pragma once

#include <cstdint>
#include <span>

#include "ddpm/data/image.h"

namespace ddpm {

/// The orientation tag (1 to 8) of EXIF data that starts with its TIFF header. 1 if it has none, or
/// none that makes sense: broken EXIF leaves the pixels as they are, as viewers do.
int exif_orientation(std::span<const uint8_t> tiff);

/// Turns and mirrors the stored pixels to the way up that an EXIF orientation of 1 to 8 asks for.
Image orient_image(Image image, int orientation);

}  // namespace ddpm
