#pragma once

#include <array>
#include <cstdint>
#include <string_view>

#include "ddpm/data/image.h"

namespace ddpm {

/// A letter's cell at scale 1: 5 pixels and one of space; 7 rows and one for descenders.
inline constexpr int64_t kGlyphWidth = 6;
inline constexpr int64_t kGlyphHeight = 8;

using Colour = std::array<uint8_t, 3>;
inline constexpr Colour kBlack{0, 0, 0};

/// The width of `text` as draw_text draws it, without the space after the last letter.
int64_t text_width(std::string_view text, int64_t scale);

/// Draws one line of printable ASCII in the built-in 5x7 letters; other bytes become '?'. Parts
/// that fall outside the image are cut off.
///
/// @param x,y    the top left corner of the first letter's cell.
/// @param scale  1 or more: each pixel of a letter becomes a square of scale x scale.
/// @param colour a grey image takes its Rec. 601 luma.
void draw_text(Image& image, int64_t x, int64_t y, std::string_view text, int64_t scale,
               Colour colour = kBlack);

}  // namespace ddpm
