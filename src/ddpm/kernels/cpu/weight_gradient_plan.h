#pragma once

#include <cstdint>

#include "ddpm/kernels/cpu/integers.h"

namespace ddpm::cpu {

/// A convolution whose weight [O, C, k, k] gets a gradient; maps are channels_last.
struct WeightGradientShape {
  int64_t images, channels, height, width;      ///< of x
  int64_t out_channels, out_height, out_width;  ///< of d_y
  int64_t kernel, stride, padding;
};

/// Pixels that one step of a product sums over.
constexpr int64_t kPixelsPerTile = 32;
/// Channels of a tile, which holds 1 KB.
constexpr int64_t kChannelsPerTile = 16;
constexpr int64_t kTileNumbers = kChannelsPerTile * kPixelsPerTile;
constexpr int64_t kSumsPerTile = kChannelsPerTile * kChannelsPerTile;
/// Channel tiles of x, or of d_y, in a task.
constexpr int64_t kMostTaskTiles = 16;

/// How a map's rows are cut into tiles of 16 channels and 32 pixels.
///
/// The pixels of a tile lie in one row of `images` images, and there in `segments` places that are
/// `segment_step` apart: 32 = images_per_tile * segments. The next tile holds the pixels to the
/// right of these: so a shift by one pixel is a shift by one tile, with nothing to align, and
/// batches of 16 or 32 need no zeros behind the pixels. Tiles lie in the order [C /
/// 16][row][column] where row = block of images * H + y.
struct MapTiles {
  int64_t images, channels, height, width;  ///< of the map
  int64_t images_per_tile, segments, segment_step;
  int64_t padding;    ///< columns left of the map that the first tiles hold, as zeros
  int64_t columns;    ///< tiles of a row
  int64_t kept_rows;  ///< of which a thread keeps tiles; row r lies at r modulo this

  int64_t channel_tiles() const { return channels / kChannelsPerTile; }
  int64_t image_blocks() const { return divide_up(images, images_per_tile); }
  int64_t rows() const { return image_blocks() * height; }
  /// Where a row's tiles lie; channel_tile counts from a task's first one.
  int64_t at(int64_t channel_tile, int64_t row) const {
    return (channel_tile * kept_rows + row % kept_rows) * columns * kTileNumbers;
  }
};

/// The order of a weight gradient's sums, which depends on the shape alone.
///
/// A task makes the sums of some channels of x and d_y over one part of d_y's rows, a slice of a
/// few rows after the other: a slice's tiles and the task's sums stay in the second cache.
struct WeightGradientPlan {
  explicit WeightGradientPlan(const WeightGradientShape& of);

  WeightGradientShape shape;
  MapTiles d_y, x;
  int64_t task_tiles;  ///< of x's and of d_y's channels
  int64_t rows_per_slice, rows_per_part, parts;

  int64_t taps() const { return shape.kernel * shape.kernel; }
  /// Tasks of a part.
  int64_t num_groups() const;
  int64_t num_tasks() const { return parts * num_groups(); }
  /// True if a task has all of its sums and rounds them itself.
  bool rounds_at_once() const { return parts == 1; }
  /// float32 numbers that tasks leave behind, [part][O / 16][C / 16][taps][16][16]; none if they
  /// round.
  int64_t num_sums() const;
  /// float32 numbers that a thread keeps between the slices of a task that rounds,
  /// [task_tiles][task_tiles][taps][16][16].
  int64_t num_thread_sums() const;
  /// bfloat16 numbers of the tiles that a thread keeps.
  int64_t num_tile_numbers() const;
};

/// Channel tiles of x and d_y of one task.
struct GradientTask {
  GradientTask(const WeightGradientPlan& plan, int64_t index);
  int64_t part;
  int64_t first_out, num_outs, first_in, num_ins;  ///< tiles
};

}  // namespace ddpm::cpu
