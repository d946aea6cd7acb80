#pragma once

#include <cstdint>
#include <utility>

#include "ddpm/kernels/cpu/tiled_convolution.h"

// How a convolution's results are cut into pieces, and how products find the pixels of a piece.
namespace ddpm::cpu {

/// How tiles of 16 pixels are found in x. A tile's pixels are equally far from each other.
enum class Access {
  kPixels,  ///< Kernel 1: pixels as they follow each other, over all images.
  kRows,    ///< 16 of a row of results, where x has its padding, be it in a copy: a row of
            ///< images_beside(), by turns a pixel of each.
  kTaps,    ///< 16 that follow each other in an image, in a copy that has for each result the taps
            ///< of a kernel's row one after the other: [row of x][result of a row][k C].
  kWindows  ///< The same with all taps: [result][k][k C].
};

/// How the results are cut into pieces, and these into tiles.
struct Cut {
  TiledConvolution c;
  Access access;
  int64_t beside = 1;       ///< kRows: images of a row
  int64_t piece_tiles = 0;  ///< kPixels: of all results
  int64_t piece_rows = 0;   ///< the others: of an image's results
  int64_t piece_groups =
      1;  ///< Of images beside each other: whole ones, where a piece has all rows
  int64_t pieces = 0;

  Cut(const TiledConvolution& convolution, int64_t wanted_pixels);

  int64_t all_pixels() const { return c.images * c.out_height * c.out_width; }
  int64_t groups() const { return c.images / beside; }
  int64_t results_of_row() const { return c.out_width * beside; }
  int64_t pieces_of_group() const;
  int64_t taps() const { return c.kernel * c.channels; }
  int64_t padded_row() const { return (c.width + 2 * c.padding) * beside * c.channels; }
  /// kRows: whether tiles are read from x itself.
  bool reads_x() const { return c.is_padded || (c.padding == 0 && beside == 1); }
  /// Of padded x, for some rows of results.
  int64_t rows_read(int64_t rows) const { return (rows - 1) * c.stride + c.kernel; }
  /// Numbers from a group of a piece with so many rows to the next.
  int64_t group_step(int64_t rows) const;
  /// As those of PixelTiles.
  int64_t pixel_step() const;
  int64_t row_step() const;
  int64_t tap_step() const { return beside * c.channels; }
};

/// 16 results, of which some may be none.
struct Tile {
  const uint16_t* pixels = nullptr;
  int64_t first = 0, count = 0;  ///< Results, counted over all images; by turns of those beside.
};

/// A piece's pixels as products read them; copies are the thread's.
class Piece {
 public:
  Piece(const Cut& cut, const uint16_t* x) : cut_(cut), x_(x) {}

  /// Prepares a piece, unless it is the one before.
  void take(int64_t index);
  int64_t num_pairs() const;
  /// Two tiles, or one and none; of rows, if there are, that follow each other.
  std::pair<Tile, Tile> pair(int64_t index) const;

 private:
  /// The piece's first group of images and row of results.
  struct Place {
    int64_t group, row;
  };

  Tile tile_of_pixels(int64_t index) const;
  Tile tile_of_rows(int64_t group, int64_t row, int64_t column) const;
  Tile tile_of_taps(int64_t index) const;
  void take_pixels(int64_t index);
  void take_rows(int64_t index);
  void take_taps(int64_t index);
  Place place(int64_t index);
  const uint16_t* map_of(int64_t image) const;
  void copy_row(int64_t group, int64_t row, uint16_t* to) const;
  uint16_t* copy_taps(const uint16_t* map, int64_t row, uint16_t* to) const;
  uint16_t* copy_windows(const uint16_t* map, int64_t row, uint16_t* to) const;
  uint16_t* copy_taps_of_one(const uint16_t* map, int64_t padded_row, int64_t column,
                             uint16_t* to) const;

  const Cut& cut_;
  const uint16_t* x_;
  const uint16_t* from_ = nullptr;
  int64_t index_ = -1, first_ = 0, groups_ = 0, rows_ = 0, num_tiles_ = 0;
};

}  // namespace ddpm::cpu
