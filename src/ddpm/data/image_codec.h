#pragma once

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/data/image.h"

namespace ddpm {

/// Decodes a PNG or JPEG, told apart by their first bytes, to 8-bit grey or RGB.
///
/// PNG: every colour type and bit depth, interlaced too. Palettes become RGB (also grey ones), 16
/// bits are rounded to 8, and alpha (tRNS too) is composited on white. JPEG: grey, YCbCr and RGB;
/// CMYK and YCCK become RGB without a colour profile. The EXIF orientation is applied in both;
/// gamma and ICC profiles are not.
///
/// @param name       of the image, for error messages.
/// @param max_pixels width * height above it is refused before any pixel is decoded or allocated.
/// @throws std::runtime_error naming the image and the reason if it is of another format, too
///         large, damaged or truncated. Damage that a viewer would paint over counts as damage.
Image decode_image(const std::vector<uint8_t>& bytes, const std::string& name, int64_t max_pixels);

/// decode_image of a file.
Image read_image(const std::string& path, int64_t max_pixels);

/// Keywords and texts (both UTF-8) in their order in the file.
using TextChunks = std::vector<std::pair<std::string, std::string>>;

/// @param text keywords of 1 to 79 printable ASCII characters without a space at an end or two in a
///             row; texts of at most 1 MiB of UTF-8 without NUL. ASCII goes to tEXt, else iTXt.
/// @throws std::invalid_argument if the image is empty or neither grey nor RGB, or the text is bad.
std::vector<uint8_t> encode_png(const Image& image, const TextChunks& text = {});

/// encode_png to a file, which is either written whole or not at all.
void write_png(const std::string& path, const Image& image, const TextChunks& text = {});

/// The text chunks before the pixels, where write_png and most programs put them. Untrusted input.
///
/// @throws std::runtime_error if the file is no PNG or is damaged before its pixels.
TextChunks read_png_text(const std::string& path);

struct WebpOptions {
  int64_t frame_ms = 100;       ///< How long a frame is shown.
  int64_t last_frame_ms = 100;  ///< The same for the last one.
  int64_t loop_count = 0;       ///< How often it plays; 0 is for ever.
  bool lossless = true;
  double quality = 85;  ///< 0 to 100. Of the pixels when lossy, of the search when lossless.
};

/// An animated WebP (also from one frame). Equal neighbours are stored once and shown longer.
///
/// @throws std::invalid_argument if there is no frame, sizes or channels differ, a side exceeds
///         16383 or an option leaves its range.
std::vector<uint8_t> encode_webp_animation(const std::vector<Image>& frames,
                                           const WebpOptions& options = {});

}  // namespace ddpm
