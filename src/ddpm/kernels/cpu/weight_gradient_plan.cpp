#include "ddpm/kernels/cpu/weight_gradient_plan.h"

#include <algorithm>

namespace ddpm::cpu {
namespace {

/// What fits into a second cache of 2 MB, and how often sums are loaded and stored.
struct Blocking {
  int64_t task_tiles;
  int64_t tiles_per_slice;  ///< of 16 channels of d_y
};

// Parts are for the sake of threads: each costs memory for all sums.
constexpr int64_t kWantedTasks = 8;

Blocking blocking_of(int64_t kernel) {
  if (kernel == 1) return {.task_tiles = 16, .tiles_per_slice = 32};
  return {.task_tiles = 8, .tiles_per_slice = 48};
}

/// Tiles of d_y's rows if a tile holds so many images.
int64_t num_tiles(const WeightGradientShape& s, int64_t images_per_tile) {
  return divide_up(s.images, images_per_tile) *
         divide_up(s.out_width, kPixelsPerTile / images_per_tile);
}

/// The one with the fewest zeros; of several the largest, because then fewer pixels of x are in
/// two tiles.
int64_t best_images_per_tile(const WeightGradientShape& s) {
  int64_t best = kPixelsPerTile;
  for (int64_t images = kPixelsPerTile / 2; images > 0; images /= 2) {
    if (num_tiles(s, images) < num_tiles(s, best)) best = images;
  }
  return best;
}

MapTiles tiles_of_d_y(const WeightGradientShape& s) {
  const int64_t images = best_images_per_tile(s);
  const int64_t segments = kPixelsPerTile / images;
  const int64_t columns = divide_up(s.out_width, segments);
  return {.images = s.images,
          .channels = s.out_channels,
          .height = s.out_height,
          .width = s.out_width,
          .images_per_tile = images,
          .segments = segments,
          .segment_step = columns,
          .padding = 0,
          .columns = columns,
          .kept_rows = 0};
}

MapTiles tiles_of_x(const WeightGradientShape& s, const MapTiles& d_y) {
  return {.images = s.images,
          .channels = s.channels,
          .height = s.height,
          .width = s.width,
          .images_per_tile = d_y.images_per_tile,
          .segments = d_y.segments,
          .segment_step = d_y.columns * s.stride,
          .padding = s.padding,
          .columns = (d_y.columns - 1) * s.stride + s.kernel,
          .kept_rows = 0};
}

/// Rows of x that `rows` rows of d_y read, and those between them.
int64_t rows_read(const WeightGradientShape& s, int64_t rows) {
  const int64_t unread = std::max<int64_t>(0, s.height - s.out_height * s.stride);
  const int64_t image_ends = (rows - 1) / s.out_height + 1;
  return (rows - 1) * s.stride + s.kernel + (s.kernel == 1 ? 0 : image_ends * unread);
}

}  // namespace

WeightGradientPlan::WeightGradientPlan(const WeightGradientShape& of)
    : shape(of), d_y(tiles_of_d_y(of)), x(tiles_of_x(of, d_y)) {
  const Blocking blocking = blocking_of(of.kernel);
  task_tiles = blocking.task_tiles;
  rows_per_slice = std::clamp<int64_t>(blocking.tiles_per_slice / d_y.columns, 1, d_y.rows());
  const int64_t slices = divide_up(d_y.rows(), rows_per_slice);
  const int64_t wanted_parts = divide_up(kWantedTasks, num_groups());
  rows_per_part = rows_per_slice * divide_up(slices, wanted_parts);
  parts = divide_up(d_y.rows(), rows_per_part);
  d_y.kept_rows = rows_per_slice;
  x.kept_rows = rows_read(of, rows_per_slice);
}

int64_t WeightGradientPlan::num_groups() const {
  return divide_up(d_y.channel_tiles(), task_tiles) * divide_up(x.channel_tiles(), task_tiles);
}

int64_t WeightGradientPlan::num_sums() const {
  if (rounds_at_once()) return 0;
  return parts * d_y.channel_tiles() * x.channel_tiles() * taps() * kSumsPerTile;
}

int64_t WeightGradientPlan::num_thread_sums() const {
  return rounds_at_once() ? task_tiles * task_tiles * taps() * kSumsPerTile : 0;
}

int64_t WeightGradientPlan::num_tile_numbers() const {
  return d_y.at(task_tiles, 0) + x.at(task_tiles, 0);
}

GradientTask::GradientTask(const WeightGradientPlan& plan, int64_t index) {
  const int64_t outs = plan.d_y.channel_tiles();
  const int64_t ins = plan.x.channel_tiles();
  const int64_t in_groups = divide_up(ins, plan.task_tiles);
  const int64_t groups = in_groups * divide_up(outs, plan.task_tiles);
  part = index / groups;
  first_out = index % groups / in_groups * plan.task_tiles;
  num_outs = std::min(plan.task_tiles, outs - first_out);
  first_in = index % in_groups * plan.task_tiles;
  num_ins = std::min(plan.task_tiles, ins - first_in);
}

}  // namespace ddpm::cpu
