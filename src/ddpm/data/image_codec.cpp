#include "ddpm/data/image_codec.h"

#include "ddpm/core/check.h"
#include "ddpm/core/file.h"
#include "ddpm/data/jpeg_codec.h"
#include "ddpm/data/png_codec.h"

namespace ddpm {

Image decode_image(const std::vector<uint8_t>& bytes, const std::string& name, int64_t max_pixels) {
  check_arg(max_pixels >= 1, "[decode_image] max_pixels: expected 1 or more, got ", max_pixels);
  check_state(!bytes.empty(), "[decode_image] '", name, "' is empty: expected a PNG or JPEG");
  if (is_png(bytes)) return decode_png(bytes, name, max_pixels);
  check_state(is_jpeg(bytes), "[decode_image] format of '", name,
              "': expected a PNG or JPEG, got other first bytes");
  return decode_jpeg(bytes, name, max_pixels);
}

Image read_image(const std::string& path, int64_t max_pixels) {
  return decode_image(read_binary_file(path), path, max_pixels);
}

void write_png(const std::string& path, const Image& image, const TextChunks& text) {
  write_file_atomic(path, encode_png(image, text));
}

TextChunks read_png_text(const std::string& path) {
  return decode_png_text(read_binary_file(path), path);
}

}  // namespace ddpm
