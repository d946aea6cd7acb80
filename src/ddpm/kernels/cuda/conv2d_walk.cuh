#pragma once

#include <cstdint>

#include "ddpm/kernels/cuda/conv2d_tile.cuh"
#include "ddpm/kernels/cuda/tensor_core.cuh"

// How warps sum a tile from a block's shared memory: step by step through taps and channels.
namespace ddpm::cuda::conv2d_tile {

/// What a step takes: 32 pixels and 32 channels, of 16 channels that go in.
struct Fragments {
  uint32_t pixels[2][4], weights[2][4];
};

/// Which of so many steps a warp takes.
struct StepRange {
  int first, count;

  __device__ StepRange(int steps, int split, int splits)
      : first(steps * split / splits), count(steps * (split + 1) / splits - first) {}
};

/// A warp's way through taps and channels.
class Walk {
 public:
  /// @param first_pixel of the warp in the tile.
  __device__ Walk(const ConvMaps& maps, const ConvPlan& plan, const TilePlace& place,
                  int first_pixel, int first_step, const T* weights, const T* pixels)
      : row_bytes_(plan.stride() * static_cast<int>(sizeof(T))),
        channel_bytes_(plan.channels * static_cast<int>(sizeof(T))),
        kernel_(maps.kernel),
        line_bytes_((maps.width - maps.kernel) * row_bytes_) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const uint32_t rows = shared_address(pixels) + lane / 16 * 16;
    outside_ = rows + plan.in_pixels(maps) * row_bytes_;
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int pixel = first_pixel + i * 16 + lane % 16;
      const int out_line = pixel / maps.out_width;
      const int image = out_line / plan.lines;
      const int own_line = (out_line - image * plan.lines) * maps.stride;
      const int column = (pixel - out_line * maps.out_width) * maps.stride - maps.padding;
      first_row_[i] =
          rows + ((image * plan.in_lines + own_line) * maps.width + column) * row_bytes_;
      if (pixel < place.pixels) {
        inside_[i] = taps_inside(maps, place.in_line + own_line, column);
      }
    }
    const int steps_of_tap = plan.channels / kStepChannels;
    tap_ = first_step / steps_of_tap;
    channel_ = (first_step - tap_ * steps_of_tap) * kStepBytes;
    const int tap_row = tap_ / maps.kernel;
    tap_column_ = tap_ - tap_row * maps.kernel;
    tap_bytes_ = tap_ * row_bytes_ + tap_row * line_bytes_;
    const int own_channel = lane / 16 * 8 + lane % 8, channel_rows = maps.kernel * maps.kernel;
    weight_row_ = shared_address(weights) + lane / 8 % 2 * 16 +
                  (own_channel * channel_rows + tap_) * row_bytes_;
    more_channels_ = 16 * channel_rows * row_bytes_;
    begin_tap();
  }

  /// Loads a step, and goes on to the next.
  __device__ void load(Fragments& step) {
    load_matrices(step.pixels[0], pixel_row_[0] + channel_);
    load_matrices(step.pixels[1], pixel_row_[1] + channel_);
    load_matrices(step.weights[0], weight_row_ + channel_);
    load_matrices(step.weights[1], weight_row_ + more_channels_ + channel_);
    channel_ += kStepBytes;
    if (channel_ < channel_bytes_) return;
    channel_ = 0;
    weight_row_ += row_bytes_;
    tap_bytes_ += row_bytes_;
    if (++tap_column_ == kernel_) {
      tap_column_ = 0;
      tap_bytes_ += line_bytes_;
    }
    ++tap_;
    begin_tap();
  }

 private:
  static constexpr int kStepBytes = kStepChannels * static_cast<int>(sizeof(T));

  /// A bit for each tap that reads a pixel of the map; tap 0 reads at (line, column).
  static __device__ uint32_t taps_inside(const ConvMaps& maps, int line, int column) {
    uint32_t inside = 0;
    for (int tap_row = maps.kernel - 1; tap_row >= 0; --tap_row) {
      const bool has_line = line + tap_row >= 0 && line + tap_row < maps.height;
      for (int tap_column = maps.kernel - 1; tap_column >= 0; --tap_column) {
        const int at = column + tap_column;
        inside = inside << 1 | static_cast<uint32_t>(has_line && at >= 0 && at < maps.width);
      }
    }
    return inside;
  }

  __device__ void begin_tap() {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      pixel_row_[i] = (inside_[i] >> tap_ & 1) != 0 ? first_row_[i] + tap_bytes_ : outside_;
    }
  }

  int row_bytes_, channel_bytes_, kernel_, line_bytes_, more_channels_;
  uint32_t first_row_[2], outside_;  // of the lane, where tap 0 reads, and the row of zeros
  uint32_t inside_[2] = {};
  uint32_t pixel_row_[2], weight_row_;  // for this tap
  int tap_ = 0, tap_column_ = 0, tap_bytes_ = 0, channel_ = 0;
};

/// A warp's way through the channels of the shortcut.
struct ShortcutWalk {
  static constexpr int kStepBytes = kStepChannels * static_cast<int>(sizeof(T));
  uint32_t pixel_row[2], weight_row, more_channels;

  __device__ ShortcutWalk(const ConvPlan& plan, int first_pixel, int first_step, const T* weights,
                          const T* pixels) {
    const int lane = static_cast<int>(threadIdx.x) % 32;
    const int row_bytes = plan.shortcut_stride() * static_cast<int>(sizeof(T));
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      const int pixel = min(first_pixel + i * 16 + lane % 16, plan.pixels - 1);
      pixel_row[i] =
          shared_address(pixels) + pixel * row_bytes + lane / 16 * 16 + first_step * kStepBytes;
    }
    weight_row = shared_address(weights) + lane / 8 % 2 * 16 +
                 (lane / 16 * 8 + lane % 8) * row_bytes + first_step * kStepBytes;
    more_channels = 16 * row_bytes;
  }

  __device__ void load(Fragments& step) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
      load_matrices(step.pixels[i], pixel_row[i]);
      pixel_row[i] += kStepBytes;
    }
    load_matrices(step.weights[0], weight_row);
    load_matrices(step.weights[1], weight_row + more_channels);
    weight_row += kStepBytes;
  }
};

/// What a warp sums: pixels from `pixel` on, and so many steps of the convolution and shortcut.
struct WarpShare {
  int pixel;
  StepRange steps, shortcut_steps;

  __device__ WarpShare(const ConvMaps& maps, const ConvPlan& plan)
      : pixel(warp() / plan.splits * kWarpPixels),
        steps(maps.kernel * maps.kernel * (plan.channels / kStepChannels), warp() % plan.splits,
              plan.splits),
        shortcut_steps(plan.shortcut_channels / kStepChannels, warp() % plan.splits, plan.splits) {}

 private:
  static __device__ int warp() { return static_cast<int>(threadIdx.x) / 32; }
};

/// Sums of a warp: of 32 pixels and 32 channels.
struct WarpSums {
  float sums[2][4][4] = {};

  __device__ void add(const Fragments& step) {
#pragma unroll
    for (int i = 0; i < 2; ++i) {
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        multiply_add(sums[i][j], step.pixels[i], step.weights[j / 2] + j % 2 * 2);
      }
    }
  }

  /// Adds `steps` steps of the walk.
  template <typename AnyWalk>
  __device__ void add(AnyWalk& walk, int steps) {
    Fragments even, odd;  // one is loaded while the other is multiplied
    if (steps > 0) walk.load(even);
    for (; steps > 0; steps -= 2) {
      if (steps > 1) walk.load(odd);
      add(even);
      if (steps == 1) break;
      if (steps > 2) walk.load(even);
      add(odd);
    }
  }
};

}  // namespace ddpm::cuda::conv2d_tile
