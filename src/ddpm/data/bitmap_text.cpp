#include "ddpm/data/bitmap_text.h"

#include <algorithm>

#include "ddpm/core/check.h"
#include "ddpm/data/bitmap_font.h"

namespace ddpm {
namespace {

constexpr int64_t kInkWidth = kGlyphWidth - 1;

std::string_view glyph_of(char letter) {
  const bool printable = letter >= ' ' && letter <= '~';
  return kGlyphs[static_cast<size_t>((printable ? letter : '?') - ' ')];
}

void fill_square(Image& image, int64_t x, int64_t y, int64_t side, Colour colour) {
  const int64_t right = std::min(x + side, image.width);
  const int64_t bottom = std::min(y + side, image.height);
  for (int64_t row = std::max<int64_t>(y, 0); row < bottom; ++row) {
    for (int64_t column = std::max<int64_t>(x, 0); column < right; ++column) {
      std::copy_n(colour.begin(), image.channels, image.at(column, row));
    }
  }
}

}  // namespace

int64_t text_width(std::string_view text, int64_t scale) {
  const auto letters = static_cast<int64_t>(text.size());
  return letters == 0 ? 0 : (letters * kGlyphWidth - 1) * scale;
}

void draw_text(Image& image, int64_t x, int64_t y, std::string_view text, int64_t scale,
               Colour colour) {
  check_arg(scale >= 1, "[draw_text] scale: expected 1 or more, got ", scale);
  check_arg(image.channels == 1 || image.channels == 3,
            "[draw_text] channels: expected 1 or 3, got ", image.channels);
  if (image.channels == 1) {
    const double luma = 0.299 * colour[0] + 0.587 * colour[1] + 0.114 * colour[2];
    colour[0] = static_cast<uint8_t>(luma + 0.5);
  }
  for (const char letter : text) {
    const std::string_view glyph = glyph_of(letter);
    for (int64_t row = 0; row < kGlyphHeight; ++row) {
      for (int64_t column = 0; column < kInkWidth; ++column) {
        const bool ink = glyph[static_cast<size_t>(row * kGlyphWidth + column)] == '#';
        if (ink) fill_square(image, x + column * scale, y + row * scale, scale, colour);
      }
    }
    x += kGlyphWidth * scale;
  }
}

}  // namespace ddpm
