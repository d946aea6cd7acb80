#include "ddpm/kernels/cpu/tiled_convolution_pieces.h"

#include <algorithm>
#include <vector>

#include "ddpm/kernels/cpu/amx_tiles.h"
#include "ddpm/kernels/cpu/integers.h"

namespace ddpm::cpu {
namespace {

int64_t tiles_of(int64_t pixels) { return divide_up(pixels, kTilePixels); }

/// Of the cache. A tile's row that lies in two of them takes twice as long to load, so copies begin
/// with one.
struct alignas(64) Line {
  uint16_t numbers[kTileDepth];
};

/// The copies of a thread, which it keeps from call to call.
std::vector<Line>& scratch() {
  thread_local std::vector<Line> lines;
  return lines;
}

uint16_t* copies() { return reinterpret_cast<uint16_t*>(scratch().data()); }

void room_for(int64_t numbers) {
  const auto lines = static_cast<size_t>(divide_up(numbers, kTileDepth));
  if (scratch().size() < lines) scratch().resize(lines);
}

Access access_of(const TiledConvolution& c) {
  if (c.kernel == 1 && c.stride == 1 && c.padding == 0) return Access::kPixels;
  if (images_beside(c) > 0) return Access::kRows;
  return c.stride == 1 ? Access::kTaps : Access::kWindows;
}

}  // namespace

int64_t images_beside(const TiledConvolution& c) {
  if (c.kernel == 1 && c.padding == 0) return 0;
  if (c.out_width % kTilePixels == 0) return 1;
  const int64_t beside = kTilePixels / c.out_width;
  const bool fills = beside * c.out_width == kTilePixels && c.images % beside == 0;
  return fills && c.stride == 1 ? beside : 0;
}

Cut::Cut(const TiledConvolution& convolution, int64_t wanted_pixels)
    : c(convolution), access(access_of(convolution)) {
  if (access == Access::kPixels) {
    piece_tiles = std::min(wanted_pixels / kTilePixels, tiles_of(all_pixels()));
    pieces = divide_up(tiles_of(all_pixels()), piece_tiles);
    return;
  }
  if (access == Access::kRows) beside = images_beside(c);
  const int64_t row = std::max<int64_t>(1, results_of_row());
  piece_rows = std::clamp(wanted_pixels / row, int64_t{1}, c.out_height);
  if (piece_rows == c.out_height) {
    piece_groups = std::clamp(wanted_pixels / row / piece_rows, int64_t{1}, groups());
  }
  pieces = divide_up(groups(), piece_groups) * pieces_of_group();
}

int64_t Cut::pieces_of_group() const { return divide_up(c.out_height, piece_rows); }

int64_t Cut::group_step(int64_t rows) const {
  switch (access) {
    case Access::kPixels:
      return 0;
    case Access::kRows:
      return (reads_x() ? c.height + 2 * c.padding : rows_read(rows)) * padded_row();
    case Access::kTaps:
      return rows_read(rows) * c.out_width * taps();
    case Access::kWindows:
      return rows * c.out_width * c.kernel * taps();
  }
  return 0;
}

int64_t Cut::pixel_step() const {
  switch (access) {
    case Access::kPixels:
      return c.channels;
    case Access::kRows:
      return c.stride * c.channels;
    case Access::kTaps:
      return taps();
    case Access::kWindows:
      return c.kernel * taps();
  }
  return 0;
}

int64_t Cut::row_step() const {
  switch (access) {
    case Access::kPixels:
      return 0;
    case Access::kRows:
      return padded_row();
    case Access::kTaps:
      return c.out_width * taps();
    case Access::kWindows:
      return taps();
  }
  return 0;
}

void Piece::take(int64_t index) {
  if (index == index_) return;
  index_ = index;
  switch (cut_.access) {
    case Access::kPixels:
      return take_pixels(index);
    case Access::kRows:
      return take_rows(index);
    case Access::kTaps:
    case Access::kWindows:
      return take_taps(index);
  }
}

int64_t Piece::num_pairs() const {
  if (cut_.access != Access::kRows) return divide_up(num_tiles_, 2);
  return groups_ * divide_up(rows_, 2) * (cut_.results_of_row() / kTilePixels);
}

std::pair<Tile, Tile> Piece::pair(int64_t index) const {
  if (cut_.access == Access::kRows) {
    const int64_t columns = cut_.results_of_row() / kTilePixels, column = index % columns;
    const int64_t of_group = divide_up(rows_, 2), row = index / columns % of_group * 2;
    const int64_t group = index / columns / of_group;
    return {tile_of_rows(group, row, column),
            row + 1 < rows_ ? tile_of_rows(group, row + 1, column) : Tile{}};
  }
  const auto tile = [&](int64_t i) {
    return cut_.access == Access::kPixels ? tile_of_pixels(i) : tile_of_taps(i);
  };
  return {tile(2 * index), 2 * index + 1 < num_tiles_ ? tile(2 * index + 1) : Tile{}};
}

Tile Piece::tile_of_pixels(int64_t index) const {
  const int64_t first = first_ + index * kTilePixels;
  const int64_t count = std::min(kTilePixels, cut_.all_pixels() - first);
  return {count < kTilePixels ? copies() : x_ + first * cut_.c.channels, first, count};
}

Tile Piece::tile_of_rows(int64_t group, int64_t row, int64_t column) const {
  const TiledConvolution& c = cut_.c;
  return {from_ + group * cut_.group_step(rows_) + row * c.stride * cut_.padded_row() +
              column * kTilePixels * cut_.pixel_step(),
          first_ + (group * cut_.beside * c.out_height + row) * c.out_width + column * kTilePixels,
          kTilePixels};
}

Tile Piece::tile_of_taps(int64_t index) const {
  const int64_t pixels = rows_ * cut_.c.out_width, of_image = tiles_of(pixels);
  const int64_t image = index / of_image, pixel = index % of_image * kTilePixels;
  return {from_ + image * cut_.group_step(rows_) + pixel * cut_.pixel_step(),
          first_ + image * pixels + pixel, std::min(kTilePixels, pixels - pixel)};
}

/// The last tile, if it is not whole, is copied: reads go no further than x.
void Piece::take_pixels(int64_t index) {
  const TiledConvolution& c = cut_.c;
  const int64_t all = cut_.all_pixels();
  first_ = index * cut_.piece_tiles * kTilePixels;
  num_tiles_ = std::min(cut_.piece_tiles, tiles_of(all) - index * cut_.piece_tiles);
  const int64_t last = first_ + (num_tiles_ - 1) * kTilePixels;
  if (last + kTilePixels <= all) return;
  room_for(kTilePixels * c.channels);
  std::copy_n(x_ + last * c.channels, (all - last) * c.channels, copies());
}

/// Sets how many groups, and rows of each, it has as well.
Piece::Place Piece::place(int64_t index) {
  const TiledConvolution& c = cut_.c;
  const int64_t row = index % cut_.pieces_of_group() * cut_.piece_rows;
  const int64_t group = index / cut_.pieces_of_group() * cut_.piece_groups;
  rows_ = std::min(cut_.piece_rows, c.out_height - row);
  groups_ = std::min(cut_.piece_groups, cut_.groups() - group);
  first_ = (group * cut_.beside * c.out_height + row) * c.out_width;
  return {group, row};
}

const uint16_t* Piece::map_of(int64_t image) const {
  return x_ + image * cut_.c.height * cut_.c.width * cut_.c.channels;
}

void Piece::take_rows(int64_t index) {
  const TiledConvolution& c = cut_.c;
  const auto [group, row] = place(index);
  if (cut_.reads_x()) {
    from_ = x_ + group * cut_.group_step(rows_) + row * c.stride * cut_.padded_row();
    return;
  }
  room_for(groups_ * cut_.group_step(rows_));
  from_ = copies();
  uint16_t* to = copies();
  for (int64_t i = 0; i < groups_; ++i) {
    for (int64_t j = 0; j < cut_.rows_read(rows_); ++j, to += cut_.padded_row()) {
      copy_row(group + i, row * c.stride + j - c.padding, to);
    }
  }
}

/// A row of a group's images with its padding.
void Piece::copy_row(int64_t group, int64_t row, uint16_t* to) const {
  const TiledConvolution& c = cut_.c;
  const int64_t beside = cut_.beside, side = c.padding * beside * c.channels;
  if (row < 0 || row >= c.height) {
    std::fill_n(to, cut_.padded_row(), uint16_t{0});
    return;
  }
  const int64_t numbers = c.width * beside * c.channels;
  std::fill_n(to, side, uint16_t{0});
  std::fill_n(to + side + numbers, side, uint16_t{0});
  for (int64_t i = 0; i < beside; ++i) {
    const uint16_t* from = map_of(group * beside + i) + row * c.width * c.channels;
    if (beside == 1) {
      std::copy_n(from, numbers, to + side);
      continue;
    }
    for (int64_t x = 0; x < c.width; ++x, from += c.channels) {
      std::copy_n(from, c.channels, to + side + (x * beside + i) * c.channels);
    }
  }
}

void Piece::take_taps(int64_t index) {
  const TiledConvolution& c = cut_.c;
  const auto [first_image, row] = place(index);
  num_tiles_ = groups_ * tiles_of(rows_ * c.out_width);
  // The last tile of an image may reach beyond its results.
  room_for(groups_ * cut_.group_step(rows_) + kTilePixels * c.kernel * cut_.taps());
  uint16_t* to = copies();
  for (int64_t image = first_image; image < first_image + groups_; ++image) {
    if (cut_.access == Access::kTaps) {
      for (int64_t i = 0; i < cut_.rows_read(rows_); ++i) {
        to = copy_taps(map_of(image), row + i, to);
      }
    } else {
      for (int64_t i = row; i < row + rows_; ++i) to = copy_windows(map_of(image), i, to);
    }
  }
  from_ = copies();
}

/// The taps of all results of a row, of a row of padded x.
uint16_t* Piece::copy_taps(const uint16_t* map, int64_t row, uint16_t* to) const {
  for (int64_t column = 0; column < cut_.c.out_width; ++column) {
    to = copy_taps_of_one(map, row, column, to);
  }
  return to;
}

/// All taps of a row of results.
uint16_t* Piece::copy_windows(const uint16_t* map, int64_t row, uint16_t* to) const {
  const TiledConvolution& c = cut_.c;
  for (int64_t column = 0; column < c.out_width; ++column) {
    for (int64_t i = 0; i < c.kernel; ++i) {
      to = copy_taps_of_one(map, row * c.stride + i, column, to);
    }
  }
  return to;
}

uint16_t* Piece::copy_taps_of_one(const uint16_t* map, int64_t padded_row, int64_t column,
                                  uint16_t* to) const {
  const TiledConvolution& c = cut_.c;
  const int64_t row = padded_row - c.padding, first = column * c.stride - c.padding;
  const int64_t begin = std::clamp(-first, int64_t{0}, c.kernel);
  const int64_t end = std::clamp(c.width - first, begin, c.kernel);
  if (row < 0 || row >= c.height) return std::fill_n(to, cut_.taps(), uint16_t{0});
  to = std::fill_n(to, begin * c.channels, uint16_t{0});
  to = std::copy_n(map + (row * c.width + first + begin) * c.channels, (end - begin) * c.channels,
                   to);
  return std::fill_n(to, (c.kernel - end) * c.channels, uint16_t{0});
}

}  // namespace ddpm::cpu
