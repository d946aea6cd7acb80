#include "ddpm/kernels/cpu/tiled_convolution.h"

#include <ATen/Parallel.h>

#include <algorithm>
#include <vector>

#include "ddpm/kernels/cpu/amx_tiles.h"
#include "ddpm/kernels/cpu/integers.h"
#include "ddpm/kernels/cpu/round_sums.h"
#include "ddpm/kernels/cpu/share_out.h"

namespace ddpm::cpu {
namespace {

constexpr int64_t kLeastPiece = 128, kLargestPiece = 512;  // pixels
constexpr int64_t kTasksPerThread = 4;          // cores are not equally fast at all times
constexpr int64_t kProductsOfThread = 1 << 20;  // fewer are not worth waking a thread for
constexpr int64_t kNearWeights = 1 << 20;       // bytes that stay in the second cache

/// How tiles of 16 pixels are found in x. A tile's pixels are equally far from each other.
enum class Access {
  kPixels,  ///< Kernel 1: pixels as they follow each other, over all images.
  kRows,    ///< 16 of a row of results, in a copy of x with its padding or in x itself.
  kTaps,    ///< 16 that follow each other in an image, in a copy that has for each result the taps
            ///< of a kernel's row one after the other: [row of x][result of a row][k C].
  kWindows  ///< The same with all taps: [result][k][k C].
};

/// How the results are cut into pieces, and these into tiles.
struct Cut {
  TiledConvolution c;
  Access access;
  int64_t piece_tiles = 0;   ///< kPixels: of all results
  int64_t piece_rows = 0;    ///< the others: of an image's results
  int64_t piece_images = 1;  ///< kTaps, kWindows: whole ones, where a piece has all rows
  int64_t pieces = 0;

  Cut(const TiledConvolution& of, int64_t wanted_pixels) : c(of), access(access_of(of)) {
    if (access == Access::kPixels) {
      piece_tiles = std::min(wanted_pixels / kTilePixels, tiles_of(all_pixels()));
      pieces = divide_up(tiles_of(all_pixels()), piece_tiles);
      return;
    }
    piece_rows = std::clamp(wanted_pixels / c.out_width, int64_t{1}, c.out_height);
    if (access != Access::kRows && piece_rows == c.out_height) {
      const int64_t wanted_images = wanted_pixels / (c.out_height * c.out_width);
      piece_images = std::clamp(wanted_images, int64_t{1}, c.images);
    }
    pieces = divide_up(c.images, piece_images) * pieces_of_image();
  }

  static int64_t tiles_of(int64_t pixels) { return divide_up(pixels, kTilePixels); }
  int64_t all_pixels() const { return c.images * c.out_height * c.out_width; }
  int64_t pieces_of_image() const { return divide_up(c.out_height, piece_rows); }
  int64_t taps() const { return c.kernel * c.channels; }
  int64_t padded_row() const { return (c.width + 2 * c.padding) * c.channels; }
  /// Of padded x, for some rows of results.
  int64_t rows_read(int64_t rows) const { return (rows - 1) * c.stride + c.kernel; }
  /// Numbers of a copy for some rows of an image's results.
  int64_t copied(int64_t rows) const {
    return access == Access::kTaps ? rows_read(rows) * c.out_width * taps()
                                   : rows * c.out_width * c.kernel * taps();
  }
  int64_t pixel_step() const {
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
  int64_t row_step() const {
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

 private:
  static Access access_of(const TiledConvolution& c) {
    if (c.kernel == 1 && c.stride == 1 && c.padding == 0) return Access::kPixels;
    if (c.out_width % kTilePixels == 0) return Access::kRows;
    return c.stride == 1 ? Access::kTaps : Access::kWindows;
  }
};

/// 16 results, of which some may be none.
struct Tile {
  const uint16_t* pixels;
  int64_t first, count;  ///< results, counted over all images
};

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

/// A piece's pixels as products read them.
class Piece {
 public:
  Piece(const Cut& cut, const uint16_t* x) : cut_(cut), x_(x) {}

  /// Prepares a piece, unless it is the one before.
  void take(int64_t index) {
    if (index == index_) return;
    index_ = index;
    switch (cut_.access) {
      case Access::kPixels:
        return take_pixels();
      case Access::kRows:
        return take_rows();
      case Access::kTaps:
      case Access::kWindows:
        return take_taps();
    }
  }
  int64_t num_tiles() const { return num_tiles_; }
  Tile tile(int64_t index) const {
    const TiledConvolution& c = cut_.c;
    if (cut_.access == Access::kPixels) {
      const int64_t first = first_ + index * kTilePixels, all = cut_.all_pixels();
      if (first + kTilePixels > all) return {copies(), first, all - first};
      return {x_ + first * c.channels, first, kTilePixels};
    }
    if (cut_.access == Access::kRows) {
      const int64_t of_row = c.out_width / kTilePixels, row = index / of_row;
      return {from_ + row * c.stride * cut_.padded_row() +
                  index % of_row * kTilePixels * cut_.pixel_step(),
              first_ + index * kTilePixels, kTilePixels};
    }
    const int64_t pixels = rows_ * c.out_width, of_image = Cut::tiles_of(pixels);
    const int64_t image = index / of_image, pixel = index % of_image * kTilePixels;
    return {from_ + image * cut_.copied(rows_) + pixel * cut_.pixel_step(),
            first_ + image * pixels + pixel, std::min(kTilePixels, pixels - pixel)};
  }

 private:
  /// The last tile, if it is not whole, is copied: reads go no further than x.
  void take_pixels() {
    const TiledConvolution& c = cut_.c;
    const int64_t all = cut_.all_pixels();
    first_ = index_ * cut_.piece_tiles * kTilePixels;
    num_tiles_ = std::min(cut_.piece_tiles, Cut::tiles_of(all) - index_ * cut_.piece_tiles);
    const int64_t last = first_ + (num_tiles_ - 1) * kTilePixels;
    if (last + kTilePixels <= all) return;
    room_for(kTilePixels * c.channels);
    std::copy_n(x_ + last * c.channels, (all - last) * c.channels, copies());
  }

  /// The piece's first image and row of results; sets how many rows it has of each image.
  struct Place {
    int64_t image, row;
  };
  Place place() {
    const TiledConvolution& c = cut_.c;
    const int64_t row = index_ % cut_.pieces_of_image() * cut_.piece_rows;
    const int64_t image = index_ / cut_.pieces_of_image() * cut_.piece_images;
    rows_ = std::min(cut_.piece_rows, c.out_height - row);
    first_ = (image * c.out_height + row) * c.out_width;
    return {image, row};
  }
  const uint16_t* map_of(int64_t image) const {
    return x_ + image * cut_.c.height * cut_.c.width * cut_.c.channels;
  }

  void take_rows() {
    const TiledConvolution& c = cut_.c;
    const auto [image, row] = place();
    num_tiles_ = rows_ * (c.out_width / kTilePixels);
    const uint16_t* const map = map_of(image);
    from_ = map + row * c.stride * cut_.padded_row();
    if (c.padding == 0) return;
    const int64_t rows = cut_.rows_read(rows_);
    room_for(rows * cut_.padded_row());
    for (int64_t i = 0; i < rows; ++i) {
      copy_row(map, row * c.stride + i - c.padding, copies() + i * cut_.padded_row());
    }
    from_ = copies();
  }

  /// A row of x with its padding.
  void copy_row(const uint16_t* map, int64_t row, uint16_t* to) const {
    const TiledConvolution& c = cut_.c;
    const int64_t side = c.padding * c.channels, numbers = c.width * c.channels;
    if (row < 0 || row >= c.height) {
      std::fill_n(to, cut_.padded_row(), uint16_t{0});
      return;
    }
    std::fill_n(to, side, uint16_t{0});
    std::copy_n(map + row * numbers, numbers, to + side);
    std::fill_n(to + side + numbers, side, uint16_t{0});
  }

  void take_taps() {
    const TiledConvolution& c = cut_.c;
    const auto [first_image, row] = place();
    const int64_t images = std::min(cut_.piece_images, c.images - first_image);
    num_tiles_ = images * Cut::tiles_of(rows_ * c.out_width);
    // The last tile of an image may reach beyond its results.
    room_for(images * cut_.copied(rows_) + kTilePixels * c.kernel * cut_.taps());
    uint16_t* to = copies();
    for (int64_t image = first_image; image < first_image + images; ++image) {
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
  uint16_t* copy_taps(const uint16_t* map, int64_t row, uint16_t* to) const {
    for (int64_t column = 0; column < cut_.c.out_width; ++column) {
      to = copy_taps_of_one(map, row, column, to);
    }
    return to;
  }
  /// All taps of a row of results.
  uint16_t* copy_windows(const uint16_t* map, int64_t row, uint16_t* to) const {
    const TiledConvolution& c = cut_.c;
    for (int64_t column = 0; column < c.out_width; ++column) {
      for (int64_t i = 0; i < c.kernel; ++i) {
        to = copy_taps_of_one(map, row * c.stride + i, column, to);
      }
    }
    return to;
  }
  uint16_t* copy_taps_of_one(const uint16_t* map, int64_t padded_row, int64_t column,
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

  static void room_for(int64_t numbers) {
    const auto lines = static_cast<size_t>(divide_up(numbers, kTileDepth));
    if (scratch().size() < lines) scratch().resize(lines);
  }

  const Cut& cut_;
  const uint16_t* x_;
  const uint16_t* from_ = nullptr;
  int64_t index_ = -1, first_ = 0, rows_ = 0, num_tiles_ = 0;
};

/// What a thread does: pieces times some blocks of output channels.
class Worker {
 public:
  Worker(const Cut& cut, const TiledMaps& maps, int64_t groups)
      : cut_(cut), maps_(maps), groups_(groups), piece_(cut, maps.x) {}

  void run(int64_t task) {
    piece_.take(task / groups_);
    const int64_t blocks = num_blocks(cut_.c), group = task % groups_;
    for (int64_t block = blocks * group / groups_; block < blocks * (group + 1) / groups_;
         ++block) {
      multiply(block);
    }
    round_rest(open_);
  }

  static int64_t num_blocks(const TiledConvolution& c) {
    return divide_up(c.out_channels, kBlockChannels);
  }

 private:
  void multiply(int64_t block) {
    WeightTiles weights{.rows = cut_.c.kernel, .steps = cut_.taps() / kTileDepth, .is_far = true};
    weights.numbers = maps_.weight + block * weights.rows * weights.steps * kStepNumbers;
    for (int64_t i = 0; i < piece_.num_tiles(); i += 2) {
      const bool has_two = i + 1 < piece_.num_tiles();
      const Tile first = piece_.tile(i), second = has_two ? piece_.tile(i + 1) : Tile{};
      float* const sums = open_.sums == sums_[0] ? sums_[1] : sums_[0];
      multiply_tiles({.first = first.pixels,
                      .second = has_two ? second.pixels : nullptr,
                      .pixel_step = cut_.pixel_step(),
                      .row_step = cut_.row_step()},
                     weights, sums, open_);
      finish(first, second, block, sums);
      weights.is_far = false;
    }
  }

  /// The next product rounds these sums, unless the block has fewer channels than others.
  void finish(const Tile& first, const Tile& second, int64_t block, const float* sums) {
    open_ = {.sums = sums,
             .first_pixels = first.count,
             .pixels = first.count + second.count,
             .first = target_of(first, block),
             .second = target_of(second, block)};
    const int64_t channels = cut_.c.out_channels - block * kBlockChannels;
    if (channels >= kBlockChannels) return;
    round_sums(sums, first.count, kBlockChannels, channels, open_.first);
    round_sums(sums + kTilePixels * kBlockChannels, second.count, kBlockChannels, channels,
               open_.second);
    open_.rounded = open_.pixels;
  }

  SumsTarget target_of(const Tile& tile, int64_t block) const {
    const int64_t channel = block * kBlockChannels, out = cut_.c.out_channels;
    const int64_t at = tile.first * out + channel;
    return {.bias = maps_.bias == nullptr ? nullptr : maps_.bias + channel,
            .residual = maps_.residual == nullptr ? nullptr : maps_.residual + at,
            .y = maps_.y + at,
            .stride = out};
  }

  alignas(64) float sums_[2][2 * kTilePixels * kBlockChannels];
  const Cut& cut_;
  const TiledMaps& maps_;
  int64_t groups_;
  Piece piece_;
  OpenSums open_;
  AmxRegisters registers_;
};

/// Where all weights stay in the second cache, pieces are such that each thread has some; else all
/// that fit there, so that weights are read once.
Cut cut_of(const TiledConvolution& c, int64_t threads) {
  const int64_t pixels = c.images * c.out_height * c.out_width;
  const int64_t weights = c.kernel * c.kernel * c.channels * c.out_channels * 2;
  const int64_t shared =
      weights > kNearWeights ? kLargestPiece : pixels / (kTasksPerThread * threads);
  return {c, std::clamp(round_up(shared, kTilePixels), kLeastPiece, kLargestPiece)};
}

}  // namespace

void convolve_tiles(const TiledConvolution& c, const TiledMaps& maps) {
  const int64_t products = c.images * c.out_height * c.out_width * c.kernel * c.kernel *
                           c.channels * round_up(c.out_channels, kBlockChannels);
  const int64_t threads =
      std::clamp<int64_t>(products / kProductsOfThread, 1, at::get_num_threads());
  const Cut cut = cut_of(c, threads);
  const int64_t wanted = threads == 1 ? 1 : kTasksPerThread * threads;
  const int64_t groups =
      std::clamp(divide_up(wanted, cut.pieces), int64_t{1}, Worker::num_blocks(c));
  share_out(
      cut.pieces * groups, threads, [&] { return Worker(cut, maps, groups); },
      [](Worker& worker, int64_t task) { worker.run(task); });
}

}  // namespace ddpm::cpu
