#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>

#include "ddpm/data/image_codec.h"

namespace ddpm {

bool is_png(std::span<const uint8_t> bytes);

/// decode_image for the bytes of a PNG.
Image decode_png(std::span<const uint8_t> bytes, const std::string& name, int64_t max_pixels);

/// read_png_text for the bytes of a PNG.
TextChunks decode_png_text(std::span<const uint8_t> bytes, const std::string& name);

}  // namespace ddpm
