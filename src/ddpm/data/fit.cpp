#include "ddpm/data/fit.h"

#include <algorithm>
#include <stdexcept>

#include "ddpm/core/check.h"
#include "ddpm/data/resize.h"

namespace ddpm {
namespace {

Image crop_square(const Image& image) {
  const int64_t side = std::min(image.width, image.height);
  return crop_image(image, (image.width - side) / 2, (image.height - side) / 2, side, side);
}

/// `side` in the scale that makes `longest` become `size`, rounded; never nothing.
int64_t scaled_side(int64_t side, int64_t longest, int64_t size) {
  return std::max<int64_t>(1, (2 * side * size + longest) / (2 * longest));
}

Image pad_square(const Image& image, int64_t size, ResizeFilter filter) {
  const int64_t longest = std::max(image.width, image.height);
  const Image whole = resize_image(image, scaled_side(image.width, longest, size),
                                   scaled_side(image.height, longest, size), filter);
  Image square = Image::filled(size, size, image.channels);
  const int64_t left = (size - whole.width) / 2;
  const int64_t top = (size - whole.height) / 2;
  for (int64_t y = 0; y < whole.height; ++y) {
    std::copy_n(whole.at(0, y), whole.width * whole.channels, square.at(left, top + y));
  }
  return square;
}

}  // namespace

Image crop_image(const Image& image, int64_t x, int64_t y, int64_t width, int64_t height) {
  check_image("crop_image", image);
  check_arg(x >= 0 && y >= 0 && width >= 1 && height >= 1 && width <= image.width - x &&
                height <= image.height - y,
            "[crop_image] part: expected one inside ", image.width, " x ", image.height, ", got ",
            width, " x ", height, " at (", x, ", ", y, ")");
  Image part = Image::filled(width, height, image.channels);
  for (int64_t row = 0; row < height; ++row) {
    std::copy_n(image.at(x, y + row), width * image.channels, part.at(0, row));
  }
  return part;
}

Image fit_square(const Image& image, int64_t size, FitPolicy policy, ResizeFilter filter) {
  check_image("fit_square", image);
  check_arg(size >= 1, "[fit_square] size: expected 1 or more, got ", size);
  switch (policy) {
    case FitPolicy::kCrop:
      if (image.width == image.height) return resize_image(image, size, size, filter);
      return resize_image(crop_square(image), size, size, filter);
    case FitPolicy::kPad:
      return pad_square(image, size, filter);
    case FitPolicy::kStretch:
      return resize_image(image, size, size, filter);
  }
  throw std::logic_error("[fit_square] not a FitPolicy");
}

Image convert_channels(const Image& image, int64_t channels) {
  check_image("convert_channels", image);
  check_arg(channels == 1 || channels == 3, "[convert_channels] channels: expected 1 or 3, got ",
            channels);
  if (channels == image.channels) return image;
  Image converted = Image::filled(image.width, image.height, channels);
  for (int64_t pixel = 0; pixel < image.width * image.height; ++pixel) {
    const uint8_t* from = image.pixels.data() + pixel * image.channels;
    uint8_t* to = converted.pixels.data() + pixel * channels;
    if (channels == 3) {
      std::fill_n(to, 3, *from);
    } else {
      // 0.299, 0.587 and 0.114 in 1/65536; they sum to 65536, so that grey stays as it is.
      *to =
          static_cast<uint8_t>((19595 * from[0] + 38470 * from[1] + 7471 * from[2] + 32768) >> 16);
    }
  }
  return converted;
}

}  // namespace ddpm
