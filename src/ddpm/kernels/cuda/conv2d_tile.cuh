#pragma once

#include <cstdint>
#include <cuda_bf16.h>

#include "ddpm/kernels/cuda/conv2d_few_pixels_kernels.h"
#include "ddpm/kernels/cuda/tensor_core.cuh"

// What a block sums of a convolution: for a tile of up to 128 pixels and 32 channels that come out,
// all taps of a part of the channels that go in. Its shared memory holds that part of all pixels
// that the tile reads, once for all taps, a row of zeros for those outside the map, and weights.
// Rows are 16 bytes longer than what they hold, so that eight of them lie in different banks.
namespace ddpm::cuda::conv2d_tile {

using T = __nv_bfloat16;
inline constexpr int kThreads = 256;
inline constexpr int kMostPixels = 128;
inline constexpr int kWarpPixels = 32;
inline constexpr int kWarps = kThreads / 32;
inline constexpr int kTileChannels = 32;
inline constexpr int kStepChannels = 16;  // that one product of matrices sums
inline constexpr int kMostTaps = 32;      // bits
static_assert(kMostPixels / kWarpPixels * 2 <= kWarps);

/// How a convolution is split.
struct ConvPlan {
  int images = 0;             ///< Of a tile: whole ones, or one of which a tile takes some lines.
  int lines = 0;              ///< Of each.
  int pixels = 0;             ///< Of a tile that come out.
  int in_lines = 0;           ///< Of each image that go in.
  int tiles = 0;              ///< Of pixels.
  int parts = 1;              ///< Blocks that share a tile's sums.
  int splits = 1;             ///< Warps that share a block's sums of 32 pixels.
  int channels = 0;           ///< That go into a block.
  int shortcut_channels = 0;  ///< That go into a block's part of the shortcut.
  int pixels_each = 0;        ///< Of a tile, that each part adds up.
  int sum_parts = 0;          ///< Of an image, whose sums can be left; 0: none.

  __host__ __device__ static int channel_tiles(const ConvMaps& maps) {
    return (maps.out_channels + kTileChannels - 1) / kTileChannels;
  }
  __host__ __device__ int tiles_of_image(const ConvMaps& maps) const {
    return (maps.out_height + lines - 1) / lines;
  }
  /// A row of weights and biases of the norm, and one of what it does for each image.
  __host__ __device__ int norm_rows() const { return 1 + images; }
  __host__ __device__ int stride() const { return channels + 8; }  // elements of a row
  __host__ __device__ int shortcut_stride() const { return shortcut_channels + 8; }
  __host__ __device__ int in_pixels(const ConvMaps& maps) const {
    return images * in_lines * maps.width;
  }
  __host__ __device__ int weight_rows(const ConvMaps& maps) const {
    return maps.kernel * maps.kernel * kTileChannels;
  }
};

/// Where a tile stands.
struct TilePlace {
  int image, line;  // that come out
  int in_line;      // the first that goes in; outside the map where that is padded
  int first_pixel;  // that comes out, of all images; the others follow
  int pixels;       // that are there

  __device__ TilePlace(const ConvMaps& maps, const ConvPlan& plan) {
    const int tiles_of_image = plan.tiles_of_image(maps);
    const int tile = static_cast<int>(blockIdx.y);
    image = tile / tiles_of_image * plan.images;
    line = tile % tiles_of_image * plan.lines;
    in_line = line * maps.stride - maps.padding;
    first_pixel = (image * maps.out_height + line) * maps.out_width;
    pixels = min(plan.images, maps.images - image) * min(plan.lines, maps.out_height - line) *
             maps.out_width;
  }
};

/// How threads share the vectors of 16 bytes of rows.
struct RowCopier {
  static constexpr int kNoRow = 1 << 24;
  int vector, first_row, step;

  /// @param channels of a row, 0: there are no rows.
  __device__ explicit RowCopier(int channels) {
    const int vectors = max(channels / 8, 1);
    const int row = static_cast<int>(threadIdx.x) / vectors;
    step = kThreads / vectors;
    vector = static_cast<int>(threadIdx.x) - row * vectors;
    first_row = row < step ? row : kNoRow;
  }
};

/// Starts the copies of weights: row c * taps + tap is the tile's channel c.
///
/// @param channels of the tile that are there.
inline __device__ void copy_weights(const ConvMaps& maps, const ConvPlan& plan,
                                    const RowCopier& copier, int channels, const T* weight,
                                    T* rows) {
  const int all = plan.weight_rows(maps), are_there = channels * maps.kernel * maps.kernel;
#pragma unroll 1
  for (int row = copier.first_row; row < all; row += copier.step) {
    copy_async_or_zero(rows + row * plan.stride() + copier.vector * 8,
                       weight + static_cast<int64_t>(row < are_there ? row : 0) * maps.channels +
                           copier.vector * 8,
                       row < are_there);
  }
}

/// Which pixel of x each row of pixels is: of the one that comes in upsampled; -1 outside the map,
/// as of the row behind them.
inline __device__ void find_pixels(const ConvMaps& maps, const ConvPlan& plan,
                                   const TilePlace& place, int* pixels) {
  const int all = plan.in_pixels(maps);
  const int halves = maps.upsampled ? 1 : 0;
#pragma unroll 1
  for (int i = static_cast<int>(threadIdx.x); i <= all; i += kThreads) {
    const int in_line = i / maps.width;
    const int column = i - in_line * maps.width;
    const int image = in_line / plan.in_lines;
    const int line = place.in_line + in_line - image * plan.in_lines;
    const bool is_inside =
        i < all && line >= 0 && line < maps.height && place.image + image < maps.images;
    const int above = (place.image + image) * (maps.height >> halves) + (line >> halves);
    pixels[i] = is_inside ? above * (maps.width >> halves) + (column >> halves) : -1;
  }
}

/// Where eight channels stand that one of two maps holds.
struct ChannelSource {
  const T* from;
  int width;  // channels of that map

  /// @param channels of x, behind which x_rest's stand.
  __device__ ChannelSource(const void* x, const void* x_rest, int channels, int rest_channels,
                           int channel) {
    const bool in_rest = channel >= channels;
    width = in_rest ? rest_channels : channels;
    from = static_cast<const T*>(in_rest ? x_rest : x) + channel - (in_rest ? channels : 0);
  }
  __device__ const T* of(int pixel) const { return from + static_cast<int64_t>(pixel) * width; }
};

/// Starts the copies of pixels, and clears the row behind them.
class PixelCopier {
 public:
  /// Looks up the first rows, which then start at once.
  __device__ PixelCopier(const ConvMaps& maps, const ConvPlan& plan, const RowCopier& copier,
                         const ChannelSource& source, const int* pixels, T* rows)
      : source_(source),
        pixels_(pixels),
        to_(rows + (copier.first_row == RowCopier::kNoRow ? 0 : copier.first_row * plan.stride()) +
            copier.vector * 8),
        stride_(copier.step * plan.stride()),
        row_(copier.first_row),
        step_(copier.step),
        all_(plan.in_pixels(maps) + 1) {
#pragma unroll
    for (int i = 0; i < kFirst; ++i) {
      const int row = row_ + i * step_;
      const int pixel = row < all_ ? pixels[row] : 0;
      first_[i] = {row < all_ ? source.of(max(pixel, 0)) : nullptr, pixel >= 0};
    }
  }

  __device__ void copy() const {
#pragma unroll
    for (int i = 0; i < kFirst; ++i) {
      if (first_[i].from == nullptr) break;
      copy_async_or_zero(to_ + i * stride_, first_[i].from, first_[i].is_inside);
    }
    T* to = to_ + kFirst * stride_;
#pragma unroll 1
    for (int row = row_ + kFirst * step_; row < all_; row += step_, to += stride_) {
      const int pixel = pixels_[row];
      copy_async_or_zero(to, source_.of(max(pixel, 0)), pixel >= 0);
    }
  }

 private:
  static constexpr int kFirst = 4;
  struct Row {
    const T* from;  // null: there is no such row
    bool is_inside;
  };

  ChannelSource source_;
  const int* pixels_;
  T* to_;
  int stride_, row_, step_, all_;
  Row first_[kFirst];
};

/// Starts the copies of the shortcut's weights, a row a channel of the tile, and of its pixels.
struct ShortcutCopier {
  RowCopier copier;
  int stride;   // elements of a row
  int channel;  // of the thread's vector

  __device__ ShortcutCopier(const ConvPlan& plan, int part)
      : copier(plan.shortcut_channels),
        stride(plan.shortcut_stride()),
        channel(part * plan.shortcut_channels + copier.vector * 8) {}

  __device__ void copy_weights(const ConvShortcut& shortcut, int first_channel, T* rows) const {
    const int all_channels = shortcut.channels + shortcut.rest_channels;
    const T* const from = static_cast<const T*>(shortcut.weight) +
                          static_cast<int64_t>(first_channel) * all_channels + channel;
    for (int row = copier.first_row; row < kTileChannels; row += copier.step) {
      copy_async_or_zero(rows + row * stride + copier.vector * 8,
                         from + static_cast<int64_t>(row) * all_channels, true);
    }
  }

  /// @param pixels of the tile, from first_pixel on, of which so many are there.
  __device__ void copy_pixels(const ConvShortcut& shortcut, int first_pixel, int pixels,
                              int are_there, T* rows) const {
    const ChannelSource source(shortcut.x, shortcut.x_rest, shortcut.channels,
                               shortcut.rest_channels, channel);
#pragma unroll 1
    for (int row = copier.first_row; row < pixels; row += copier.step) {
      const bool is_there = row < are_there;
      copy_async_or_zero(rows + row * stride + copier.vector * 8,
                         source.of(is_there ? first_pixel + row : 0), is_there);
    }
  }
};

}  // namespace ddpm::cuda::conv2d_tile
