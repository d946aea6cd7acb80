#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "ddpm/data/image.h"

namespace ddpm {

/// Each pixel becomes a square of factor x factor.
Image enlarge_pixels(const Image& image, int64_t factor);

/// Columns that lay `count` images out about square.
int64_t square_columns(int64_t count);

/// How much to enlarge images of this width so that they can be seen: to 64 pixels or a little
/// less; 1 for larger ones.
int64_t shown_scale(int64_t width);

/// Images of equal size in rows of `columns`, on white, `padding` pixels around each.
///
/// @throws std::invalid_argument if there is none, they differ in size, or a number is out of
/// range.
Image tile_images(const std::vector<Image>& images, int64_t columns, int64_t padding);

/// Puts images of any size below one another on white, aligned left, `padding` pixels between them.
/// RGB if one of them is.
Image stack_rows(const std::vector<Image>& images, int64_t padding = 8);

struct StripLabels {
  std::vector<std::string> rows;     ///< For example "x_t", "predicted noise", "predicted x_0".
  std::vector<std::string> columns;  ///< For example "t=999".
  std::string title;                 ///< Above the columns; empty leaves it out.
};

/// A table of pictures with the rows' labels on the left and the columns' on top: black on white.
///
/// @param rows  one list for each row label, with one image for each column label; equal sizes.
/// @param scale each pixel becomes a square of scale x scale; 0 takes the smallest that makes a
///              picture at least 96 pixels wide.
Image label_strip(const std::vector<std::vector<Image>>& rows, const StripLabels& labels,
                  int64_t scale = 0);

}  // namespace ddpm
