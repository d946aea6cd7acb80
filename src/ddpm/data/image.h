#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "ddpm/core/check.h"

namespace ddpm {

/// An 8-bit picture: rows from the top, pixels from the left, channels together (HWC).
struct Image {
  int64_t width = 0;
  int64_t height = 0;
  int64_t channels = 0;  ///< 1 grey, 3 RGB.
  std::vector<uint8_t> pixels;

  /// An image of one value; black unless told otherwise.
  static Image filled(int64_t width, int64_t height, int64_t channels, uint8_t value = 0) {
    return {width, height, channels,
            std::vector<uint8_t>(static_cast<size_t>(width * height * channels), value)};
  }

  /// Where the pixel (x, y) begins. Not checked.
  uint8_t* at(int64_t x, int64_t y) { return pixels.data() + (y * width + x) * channels; }
  const uint8_t* at(int64_t x, int64_t y) const {
    return pixels.data() + (y * width + x) * channels;
  }
};

/// @throws std::invalid_argument naming `function` if the image is empty, has other channels than 1
///         or 3, or its pixels are more or fewer than its size says.
inline void check_image(const char* function, const Image& image) {
  const bool ok =
      image.width >= 1 && image.height >= 1 && (image.channels == 1 || image.channels == 3) &&
      static_cast<int64_t>(image.pixels.size()) == image.width * image.height * image.channels;
  check_arg(ok, "[", function, "] image: expected at least 1 x 1 pixels of 1 or 3 channels, got ",
            image.width, " x ", image.height, " of ", image.channels, " in ", image.pixels.size(),
            " bytes");
}

}  // namespace ddpm
