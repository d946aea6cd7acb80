#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ddpm/data/image_codec.h"

namespace ddpm::testing {

inline std::string png_of(const Image& image) {
  const std::vector<uint8_t> bytes = encode_png(image);
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

/// 8x8 pixels of many colours.
inline Image coloured_image(int64_t size = 8) {
  Image image = Image::filled(size, size, 3);
  for (int64_t y = 0; y < size; ++y) {
    for (int64_t x = 0; x < size; ++x) {
      image.at(x, y)[0] = static_cast<uint8_t>(60 + 20 * x);
      image.at(x, y)[1] = static_cast<uint8_t>(200 - 15 * y);
      image.at(x, y)[2] = static_cast<uint8_t>(90 + 9 * (x + y));
    }
  }
  return image;
}

inline Image picture_in(const std::string& bytes) {
  return decode_image({bytes.begin(), bytes.end()}, "answer", 1 << 20);
}

}  // namespace ddpm::testing
