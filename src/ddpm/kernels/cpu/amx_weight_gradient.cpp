#include "ddpm/kernels/cpu/amx_weight_gradient.h"

#if defined(__x86_64__) && defined(__linux__)
#include <algorithm>
#include <immintrin.h>

#include "ddpm/core/amx.h"
#include "ddpm/kernels/cpu/amx_map_tiles.h"

// For functions instead of for the file, so that nothing inline in a header becomes AVX-512.
#define DDPM_AMX __attribute__((target("amx-tile,amx-bf16,avx512f,avx512bw,avx512vl,avx512bf16")))

namespace ddpm::cpu {
namespace {

constexpr int64_t kRowBytes = 64;  // of a tile

/// Adds the three taps of a kernel's row to registers 0 to 2. The tiles of x that one pixel reads
/// are also those of the next one but for one, so two loads feed three products.
DDPM_AMX void add_row(const uint16_t* d_y, const uint16_t* x, int64_t columns) {
  constexpr int64_t kNext = kTileNumbers;
  _tile_loadd(4, x, kRowBytes);
  _tile_loadd(5, x + kNext, kRowBytes);
  x += 2 * kNext;
  int64_t left = columns;
  for (; left >= 3; left -= 3) {
    _tile_loadd(3, d_y, kRowBytes);
    _tile_loadd(6, x, kRowBytes);
    _tile_dpbf16ps(0, 3, 4);
    _tile_dpbf16ps(1, 3, 5);
    _tile_dpbf16ps(2, 3, 6);
    _tile_loadd(7, d_y + kNext, kRowBytes);
    _tile_loadd(4, x + kNext, kRowBytes);
    _tile_dpbf16ps(0, 7, 5);
    _tile_dpbf16ps(1, 7, 6);
    _tile_dpbf16ps(2, 7, 4);
    _tile_loadd(3, d_y + 2 * kNext, kRowBytes);
    _tile_loadd(5, x + 2 * kNext, kRowBytes);
    _tile_dpbf16ps(0, 3, 6);
    _tile_dpbf16ps(1, 3, 4);
    _tile_dpbf16ps(2, 3, 5);
    d_y += 3 * kNext;
    x += 3 * kNext;
  }
  if (left == 0) return;
  _tile_loadd(3, d_y, kRowBytes);
  _tile_loadd(6, x, kRowBytes);
  _tile_dpbf16ps(0, 3, 4);
  _tile_dpbf16ps(1, 3, 5);
  _tile_dpbf16ps(2, 3, 6);
  if (left == 1) return;
  _tile_loadd(7, d_y + kNext, kRowBytes);
  _tile_loadd(4, x + kNext, kRowBytes);
  _tile_dpbf16ps(0, 7, 5);
  _tile_dpbf16ps(1, 7, 6);
  _tile_dpbf16ps(2, 7, 4);
}

/// The same if the kernel moves by `stride` pixels.
DDPM_AMX void add_strided_row(const uint16_t* d_y, const uint16_t* x, int64_t columns,
                              int64_t stride) {
  for (int64_t i = 0; i < columns; ++i) {
    _tile_loadd(3, d_y, kRowBytes);
    _tile_loadd(4, x, kRowBytes);
    _tile_loadd(5, x + kTileNumbers, kRowBytes);
    _tile_loadd(6, x + 2 * kTileNumbers, kRowBytes);
    _tile_dpbf16ps(0, 3, 4);
    _tile_dpbf16ps(1, 3, 5);
    _tile_dpbf16ps(2, 3, 6);
    d_y += kTileNumbers;
    x += stride * kTileNumbers;
  }
}

/// One slice of a task as its products read it.
struct Slice {
  const WeightGradientPlan& plan;
  const GradientMemory& memory;
  const GradientTask& task;
  const uint16_t* d_y;  ///< tiles
  const uint16_t* x;    ///< tiles
  float* thread_sums;
  int64_t first_row, last_row;
  bool adds;    ///< to the sums of the slice before
  bool rounds;  ///< its sums, as no slice comes after it

  /// Sums of two tiles of channels, which count from the task's first ones.
  float* sums(int64_t out, int64_t in) const {
    const int64_t size = plan.taps() * kSumsPerTile;
    if (plan.rounds_at_once()) return thread_sums + (out * plan.task_tiles + in) * size;
    const int64_t row = task.part * plan.d_y.channel_tiles() + task.first_out + out;
    return memory.sums + (row * plan.x.channel_tiles() + task.first_in + in) * size;
  }
};

DDPM_AMX void add_rows(const Slice& slice, int64_t out, int64_t in, int64_t tap_row) {
  const WeightGradientPlan& plan = slice.plan;
  const WeightGradientShape& s = plan.shape;
  int64_t block = slice.first_row / s.out_height;
  int64_t y = slice.first_row % s.out_height;
  for (int64_t row = slice.first_row; row < slice.last_row; ++row) {
    const int64_t x_row = s.stride * y + tap_row - s.padding;
    if (x_row >= 0 && x_row < s.height) {
      const uint16_t* const d_y = slice.d_y + plan.d_y.at(out, row);
      const uint16_t* const x = slice.x + plan.x.at(in, block * s.height + x_row);
      if (s.stride == 1) {
        add_row(d_y, x, plan.d_y.columns);
      } else {
        add_strided_row(d_y, x, plan.d_y.columns, s.stride);
      }
    }
    if (++y == s.out_height) {
      y = 0;
      ++block;
    }
  }
}

/// 16 x 16 sums, rounded to their place in d_weight.
DDPM_AMX void round_tile(const WeightGradientShape& s, const float* sums, int64_t out, int64_t in,
                         int64_t tap, uint16_t* d_weight) {
  const int64_t row = s.kernel * s.kernel * s.channels;
  uint16_t* const to =
      d_weight + out * kChannelsPerTile * row + tap * s.channels + in * kChannelsPerTile;
  for (int64_t i = 0; i < kChannelsPerTile; ++i) {
    const __m256bh rounded = _mm512_cvtneps_pbh(_mm512_loadu_ps(sums + i * kChannelsPerTile));
    __builtin_memcpy(to + i * row, &rounded, sizeof rounded);
  }
}

void round_task_tile(const Slice& slice, const float* sums, int64_t out, int64_t in, int64_t tap) {
  round_tile(slice.plan.shape, sums, slice.task.first_out + out, slice.task.first_in + in, tap,
             slice.memory.d_weight);
}

DDPM_AMX void multiply_3x3(const Slice& slice, int64_t out, int64_t in) {
  alignas(64) float complete[3 * kSumsPerTile];
  for (int64_t tap_row = 0; tap_row < 3; ++tap_row) {
    float* sums = slice.sums(out, in) + 3 * tap_row * kSumsPerTile;
    if (slice.adds) {
      _tile_loadd(0, sums, kRowBytes);
      _tile_loadd(1, sums + kSumsPerTile, kRowBytes);
      _tile_loadd(2, sums + 2 * kSumsPerTile, kRowBytes);
    } else {
      _tile_zero(0);
      _tile_zero(1);
      _tile_zero(2);
    }
    add_rows(slice, out, in, tap_row);
    if (slice.rounds) sums = complete;
    _tile_stored(0, sums, kRowBytes);
    _tile_stored(1, sums + kSumsPerTile, kRowBytes);
    _tile_stored(2, sums + 2 * kSumsPerTile, kRowBytes);
    for (int64_t i = 0; slice.rounds && i < 3; ++i) {
      round_task_tile(slice, sums + i * kSumsPerTile, out, in, 3 * tap_row + i);
    }
  }
}

/// Products of a kernel of one tap, whose tiles lie one behind the other.
DDPM_AMX void add_pixels(const uint16_t* const d_y[2], const uint16_t* const x[2], int64_t tiles) {
  for (int64_t i = 0; i < tiles * kTileNumbers; i += kTileNumbers) {
    _tile_loadd(4, d_y[0] + i, kRowBytes);
    _tile_loadd(6, x[0] + i, kRowBytes);
    _tile_loadd(7, x[1] + i, kRowBytes);
    _tile_loadd(5, d_y[1] + i, kRowBytes);
    _tile_dpbf16ps(0, 4, 6);
    _tile_dpbf16ps(1, 4, 7);
    _tile_dpbf16ps(2, 5, 6);
    _tile_dpbf16ps(3, 5, 7);
  }
}

/// Two by two tiles of channels; the last ones twice where their number is odd.
DDPM_AMX void multiply_1x1(const Slice& slice, int64_t out, int64_t in) {
  const int64_t outs[2] = {out, std::min(out + 1, slice.task.num_outs - 1)};
  const int64_t ins[2] = {in, std::min(in + 1, slice.task.num_ins - 1)};
  alignas(64) float complete[4][kSumsPerTile];
  float* sums[4];
  for (int i = 0; i < 4; ++i) sums[i] = slice.sums(outs[i / 2], ins[i % 2]);
  if (slice.adds) {
    _tile_loadd(0, sums[0], kRowBytes);
    _tile_loadd(1, sums[1], kRowBytes);
    _tile_loadd(2, sums[2], kRowBytes);
    _tile_loadd(3, sums[3], kRowBytes);
  } else {
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
  }
  const uint16_t *d_y[2], *x[2];
  for (int i = 0; i < 2; ++i) {
    d_y[i] = slice.d_y + slice.plan.d_y.at(outs[i], slice.first_row);
    x[i] = slice.x + slice.plan.x.at(ins[i], slice.first_row);
  }
  add_pixels(d_y, x, (slice.last_row - slice.first_row) * slice.plan.d_y.columns);
  for (int i = 0; slice.rounds && i < 4; ++i) sums[i] = complete[i];
  _tile_stored(0, sums[0], kRowBytes);
  _tile_stored(1, sums[1], kRowBytes);
  _tile_stored(2, sums[2], kRowBytes);
  _tile_stored(3, sums[3], kRowBytes);
  for (int i = 0; slice.rounds && i < 4; ++i) {
    round_task_tile(slice, sums[i], outs[i / 2], ins[i % 2], 0);
  }
}

void multiply_slice(const Slice& slice) {
  const bool is_pixels = slice.plan.shape.kernel == 1;
  const int64_t step = is_pixels ? 2 : 1;
  for (int64_t out = 0; out < slice.task.num_outs; out += step) {
    for (int64_t in = 0; in < slice.task.num_ins; in += step) {
      if (is_pixels) {
        multiply_1x1(slice, out, in);
      } else {
        multiply_3x3(slice, out, in);
      }
    }
  }
}

/// The rows of x that a row of d_y reads end before this one.
int64_t end_in_x(const WeightGradientShape& s, int64_t row) {
  const int64_t end = row % s.out_height * s.stride - s.padding + s.kernel;
  return row / s.out_height * s.height + std::min(s.height, end);
}
int64_t begin_in_x(const WeightGradientShape& s, int64_t row) {
  const int64_t begin = row % s.out_height * s.stride - s.padding;
  return row / s.out_height * s.height + std::max<int64_t>(0, begin);
}

}  // namespace

bool has_amx_weight_gradient() {
  static const bool has = cpu_has_amx() && __builtin_cpu_supports("avx512vbmi") != 0;
  return has;
}

GradientWorker::GradientWorker(const WeightGradientPlan& plan, const GradientMemory& memory,
                               uint16_t* tiles, float* sums)
    : plan_(plan),
      memory_(memory),
      sums_(sums),
      d_y_tiles_(tiles),
      x_tiles_(tiles + plan.d_y.at(plan.task_tiles, 0)) {}

void GradientWorker::run(int64_t index) const {
  const GradientTask task(plan_, index);
  const int64_t first = task.part * plan_.rows_per_part;
  const int64_t last = std::min(plan_.d_y.rows(), first + plan_.rows_per_part);
  int64_t x_row = begin_in_x(plan_.shape, first);
  for (int64_t row = first; row < last; row += plan_.rows_per_slice) {
    const int64_t end = std::min(last, row + plan_.rows_per_slice);
    for (int64_t i = row; i < end; ++i) {
      pack_row(plan_.d_y, TileOrder::kChannels, memory_.d_y, {task.first_out, task.num_outs}, i,
               d_y_tiles_);
    }
    for (const int64_t x_end = end_in_x(plan_.shape, end - 1); x_row < x_end; ++x_row) {
      pack_row(plan_.x, TileOrder::kPixelPairs, memory_.x, {task.first_in, task.num_ins}, x_row,
               x_tiles_);
    }
    multiply_slice({.plan = plan_,
                    .memory = memory_,
                    .task = task,
                    .d_y = d_y_tiles_,
                    .x = x_tiles_,
                    .thread_sums = sums_,
                    .first_row = row,
                    .last_row = end,
                    .adds = row > first,
                    .rounds = plan_.rounds_at_once() && end == last});
  }
}

DDPM_AMX void round_parts(const WeightGradientPlan& plan, const GradientMemory& memory,
                          int64_t out_tile) {
  alignas(64) float rest[kSumsPerTile];
  const int64_t next_part = plan.num_sums() / plan.parts;
  for (int64_t in = 0; in < plan.x.channel_tiles(); ++in) {
    for (int64_t tap = 0; tap < plan.taps(); ++tap) {
      const int64_t tile = (out_tile * plan.x.channel_tiles() + in) * plan.taps() + tap;
      const float* const sums = memory.sums + tile * kSumsPerTile;
      for (int64_t i = 0; i < kSumsPerTile; i += kChannelsPerTile) {
        __m512 sum = _mm512_loadu_ps(sums + i);
        for (int64_t part = 1; part < plan.parts; ++part) {
          sum = _mm512_add_ps(sum, _mm512_loadu_ps(sums + part * next_part + i));
        }
        _mm512_store_ps(rest + i, sum);
      }
      round_tile(plan.shape, rest, out_tile, in, tap, memory.d_weight);
    }
  }
}

}  // namespace ddpm::cpu
#else

namespace ddpm::cpu {

bool has_amx_weight_gradient() { return false; }

GradientWorker::GradientWorker(const WeightGradientPlan& plan, const GradientMemory& memory,
                               uint16_t*, float*)
    : plan_(plan), memory_(memory), sums_(nullptr), d_y_tiles_(nullptr), x_tiles_(nullptr) {}
void GradientWorker::run(int64_t) const {}
void round_parts(const WeightGradientPlan&, const GradientMemory&, int64_t) {}

}  // namespace ddpm::cpu
#endif
