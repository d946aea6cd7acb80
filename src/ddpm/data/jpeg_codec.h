#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "ddpm/data/image.h"

namespace ddpm {

bool is_jpeg(std::span<const uint8_t> bytes);

/// decode_image for the bytes of a JPEG.
Image decode_jpeg(std::span<const uint8_t> bytes, const std::string& name, int64_t max_pixels);

}  // namespace ddpm
