#include "ddpm/data/grid.h"

#include <algorithm>
#include <cmath>

#include "ddpm/core/check.h"
#include "ddpm/data/bitmap_text.h"
#include "ddpm/data/fit.h"

namespace ddpm {
namespace {

constexpr uint8_t kWhite = 255;
constexpr int64_t kTextScale = 2;
constexpr int64_t kTextHeight = kGlyphHeight * kTextScale;
constexpr int64_t kGap = 4;      // between pictures
constexpr int64_t kMargin = 12;  // around the strip, and between labels and pictures
constexpr int64_t kMinPicture = 96;
constexpr int64_t kShownWidth = 64;
constexpr Colour kInk{32, 32, 32};

bool same_shape(const Image& a, const Image& b) {
  return a.width == b.width && a.height == b.height && a.channels == b.channels;
}

/// Copies `part` into `canvas`, which has its channels and room for it.
void paste(const Image& part, Image& canvas, int64_t x, int64_t y) {
  for (int64_t row = 0; row < part.height; ++row) {
    std::copy_n(part.at(0, row), part.width * part.channels, canvas.at(x, y + row));
  }
}

int64_t widest(const std::vector<std::string>& labels) {
  int64_t width = 0;
  for (const std::string& label : labels) width = std::max(width, text_width(label, kTextScale));
  return width;
}

void check_strip(const std::vector<std::vector<Image>>& rows, const StripLabels& labels,
                 int64_t scale) {
  check_arg(!rows.empty() && rows.size() == labels.rows.size(),
            "[label_strip] rows: expected one for each of ", labels.rows.size(), " labels, got ",
            rows.size());
  for (const std::vector<Image>& row : rows) {
    check_arg(!row.empty() && row.size() == labels.columns.size(),
              "[label_strip] pictures of a row: expected one for each of ", labels.columns.size(),
              " labels, got ", row.size());
    for (const Image& image : row) {
      check_image("label_strip", image);
      check_arg(same_shape(image, rows[0][0]),
                "[label_strip] size of pictures: expected that of the first, ", rows[0][0].width,
                " x ", rows[0][0].height, ", got ", image.width, " x ", image.height);
    }
  }
  check_arg(scale >= 0, "[label_strip] scale: expected 0 or more, got ", scale);
}

/// Where things lie in a strip, in pixels.
struct StripLayout {
  int64_t scale, picture_width, picture_height;
  int64_t column_step, row_step;  ///< From one picture to the next.
  int64_t left, top;              ///< Of the first picture.

  StripLayout(const Image& picture, const StripLabels& labels, int64_t wanted_scale)
      : scale(wanted_scale > 0 ? wanted_scale : (kMinPicture - 1) / picture.width + 1),
        picture_width(picture.width * scale),
        picture_height(picture.height * scale),
        column_step(std::max(picture_width, widest(labels.columns) + kMargin) + kGap),
        row_step(std::max(picture_height, kTextHeight) + kGap),
        left(kMargin + widest(labels.rows) + (widest(labels.rows) > 0 ? kMargin : 0)),
        top(kMargin + title_height(labels) +
            (widest(labels.columns) > 0 ? kTextHeight + kMargin / 2 : 0)) {}

  static int64_t title_height(const StripLabels& labels) {
    return labels.title.empty() ? 0 : kTextHeight + kMargin;
  }
  int64_t width(const StripLabels& labels) const {
    const auto columns = static_cast<int64_t>(labels.columns.size());
    return std::max(left + columns * column_step - kGap,
                    left + text_width(labels.title, kTextScale)) +
           kMargin;
  }
  int64_t height(const StripLabels& labels) const {
    return top + static_cast<int64_t>(labels.rows.size()) * row_step - kGap + kMargin;
  }
};

}  // namespace

int64_t square_columns(int64_t count) {
  return static_cast<int64_t>(std::ceil(std::sqrt(static_cast<double>(count))));
}

int64_t shown_scale(int64_t width) { return std::max<int64_t>(1, kShownWidth / width); }

Image enlarge_pixels(const Image& image, int64_t factor) {
  check_image("enlarge_pixels", image);
  check_arg(factor >= 1, "[enlarge_pixels] factor: expected 1 or more, got ", factor);
  if (factor == 1) return image;
  Image large = Image::filled(image.width * factor, image.height * factor, image.channels);
  for (int64_t y = 0; y < large.height; ++y) {
    for (int64_t x = 0; x < large.width; ++x) {
      std::copy_n(image.at(x / factor, y / factor), image.channels, large.at(x, y));
    }
  }
  return large;
}

Image tile_images(const std::vector<Image>& images, int64_t columns, int64_t padding) {
  check_arg(!images.empty(), "[tile_images] images: expected 1 or more, got none");
  check_arg(columns >= 1 && padding >= 0,
            "[tile_images] columns and padding: expected 1 or more and 0 or more, got ", columns,
            " and ", padding);
  const Image& first = images.front();
  const auto count = static_cast<int64_t>(images.size());
  columns = std::min(columns, count);
  const int64_t rows = (count + columns - 1) / columns;
  const int64_t column_step = first.width + padding;
  const int64_t row_step = first.height + padding;
  Image grid = Image::filled(columns * column_step + padding, rows * row_step + padding,
                             first.channels, kWhite);
  for (int64_t i = 0; i < count; ++i) {
    const Image& image = images[static_cast<size_t>(i)];
    check_image("tile_images", image);
    check_arg(same_shape(image, first), "[tile_images] size of image ", i,
              ": expected that of the first, ", first.width, " x ", first.height, " of ",
              first.channels, " channels, got ", image.width, " x ", image.height, " of ",
              image.channels);
    paste(image, grid, padding + i % columns * column_step, padding + i / columns * row_step);
  }
  return grid;
}

Image stack_rows(const std::vector<Image>& images, int64_t padding) {
  check_arg(!images.empty(), "[stack_rows] images: expected 1 or more, got none");
  check_arg(padding >= 0, "[stack_rows] padding: expected 0 or more, got ", padding);
  int64_t width = 0;
  int64_t height = -padding;
  int64_t channels = 1;
  for (const Image& image : images) {
    check_image("stack_rows", image);
    width = std::max(width, image.width);
    height += image.height + padding;
    channels = std::max(channels, image.channels);
  }
  Image stack = Image::filled(width, height, channels, kWhite);
  int64_t y = 0;
  for (const Image& image : images) {
    paste(convert_channels(image, channels), stack, 0, y);
    y += image.height + padding;
  }
  return stack;
}

Image label_strip(const std::vector<std::vector<Image>>& rows, const StripLabels& labels,
                  int64_t scale) {
  check_strip(rows, labels, scale);
  const Image& first = rows[0][0];
  const StripLayout layout(first, labels, scale);
  Image strip = Image::filled(layout.width(labels), layout.height(labels), first.channels, kWhite);
  draw_text(strip, layout.left, kMargin, labels.title, kTextScale, kInk);

  const auto center_column = [&](size_t column, int64_t width) {
    const int64_t cell = layout.column_step - kGap;
    return layout.left + static_cast<int64_t>(column) * layout.column_step + (cell - width) / 2;
  };
  const auto center_row = [&](size_t row, int64_t height) {
    const int64_t cell = layout.row_step - kGap;
    return layout.top + static_cast<int64_t>(row) * layout.row_step + (cell - height) / 2;
  };
  const int64_t label_y = layout.top - kMargin / 2 - kTextHeight;
  for (size_t column = 0; column < labels.columns.size(); ++column) {
    const std::string& label = labels.columns[column];
    draw_text(strip, center_column(column, text_width(label, kTextScale)), label_y, label,
              kTextScale, kInk);
  }
  for (size_t row = 0; row < rows.size(); ++row) {
    const std::string& label = labels.rows[row];
    const int64_t label_x = layout.left - kMargin - text_width(label, kTextScale);
    draw_text(strip, label_x, center_row(row, kTextHeight), label, kTextScale, kInk);
    for (size_t column = 0; column < rows[row].size(); ++column) {
      paste(enlarge_pixels(rows[row][column], layout.scale), strip,
            center_column(column, layout.picture_width), center_row(row, layout.picture_height));
    }
  }
  return strip;
}

}  // namespace ddpm
