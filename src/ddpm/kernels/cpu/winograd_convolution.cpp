#include "ddpm/kernels/cpu/winograd_convolution.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "ddpm/core/check.h"
#include "ddpm/kernels/cpu/integers.h"
#include "ddpm/kernels/cpu/share_out.h"
#include "ddpm/kernels/cpu/winograd_tiles.h"

namespace ddpm::cpu {
namespace {

// Below, the transforms count for more.
constexpr int64_t kFewestWinogradChannels = 16;
constexpr int64_t kFewestReadyPixels = 256;
// Tiles that read a block of weights together: fewer read all weights for little, more leave the
// second cache.
constexpr int64_t kLeastTiles = 24, kMostTiles = 48;
constexpr int64_t kTasksForThread = 4;  // cores are not equally fast at all times
constexpr int64_t kChannelsOfTask = 64;

const float* floats_of(const Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr<float>() : nullptr;
}

/// A thread's room, and the tiles whose pixels stand in it.
class WinogradWorker {
 public:
  WinogradWorker(const WinogradConvolution& convolution, const WinogradMaps& maps, int64_t tiles)
      : c_(convolution),
        maps_(maps),
        pixels_(at::empty({winograd_pixels_room(tiles, convolution.channels)}, at::kFloat)),
        products_(at::empty({winograd_products_room(tiles)}, at::kFloat)) {}

  /// Blocks of output channels from `begin` to `end`.
  void run(const WinogradTiles& tiles, int64_t begin, int64_t end) {
    auto* const pixels = pixels_.mutable_data_ptr<float>();
    if (tiles.first != first_) transform_winograd_pixels(c_, maps_.x, tiles, pixels);
    first_ = tiles.first;
    for (int64_t block = begin; block < end; ++block) {
      finish_winograd_tiles(c_, maps_, tiles, block, pixels, products_.mutable_data_ptr<float>());
    }
  }

 private:
  const WinogradConvolution& c_;
  const WinogradMaps& maps_;
  Tensor pixels_, products_;
  int64_t first_ = -1;
};

void convolve_pieces(const WinogradConvolution& c, const WinogradMaps& maps) {
  const int64_t threads = at::get_num_threads(), tiles = c.num_tiles();
  const int64_t shared = round_up(divide_up(tiles, 2 * threads), winograd_rows());
  const int64_t together = std::clamp(shared, kLeastTiles, kMostTiles);
  const int64_t pieces = divide_up(tiles, together);
  const int64_t blocks = divide_up(c.out_channels, winograd_block());
  const int64_t groups =
      threads == 1 ? 1 : std::min(blocks, divide_up(kTasksForThread * threads, pieces));
  share_out(
      pieces * groups, threads, [&] { return WinogradWorker(c, maps, together); },
      [&](WinogradWorker& worker, int64_t task) {
        const int64_t first = task / groups * together, group = task % groups;
        worker.run({.first = first, .count = std::min(together, tiles - first)},
                   blocks * group / groups, blocks * (group + 1) / groups);
      });
}

WinogradWeight transformed(const WinogradTaps& taps) {
  const int64_t block = winograd_block(), blocks = divide_up(taps.out_channels, block);
  const int64_t block_numbers = kWinogradPoints * taps.channels * block;
  Tensor numbers = at::empty({blocks * block_numbers}, at::kFloat);
  auto* const to = numbers.mutable_data_ptr<float>();
  const int64_t parts = divide_up(taps.channels, kChannelsOfTask);
  at::parallel_for(0, blocks * parts, 1, [&](int64_t begin, int64_t end) {
    for (int64_t task = begin; task < end; ++task) {
      const int64_t first = task % parts * kChannelsOfTask;
      transform_winograd_weight(taps, task / parts, first,
                                std::min(first + kChannelsOfTask, taps.channels),
                                to + task / parts * block_numbers);
    }
  });
  return {.numbers = numbers, .out_channels = taps.out_channels, .in_channels = taps.channels};
}

}  // namespace

bool has_winograd(const Tensor& weight, int64_t stride, int64_t padding) {
#if defined(__x86_64__)
  return weight.is_cpu() && weight.scalar_type() == at::kFloat && weight.dim() == 4 &&
         weight.size(2) == 3 && weight.size(3) == 3 && stride == 1 && padding >= 0 &&
         padding <= 2 && weight.size(0) >= kFewestWinogradChannels &&
         weight.size(1) >= kFewestWinogradChannels;
#else
  static_cast<void>(weight), static_cast<void>(stride), static_cast<void>(padding);
  return false;
#endif
}

bool prefers_winograd(int64_t height, int64_t width) {
  return height * width >= kFewestReadyPixels;
}

WinogradWeight winograd_weight_of(const Tensor& weight) {
  const int64_t out = weight.size(0), channels = weight.size(1);
  const Tensor taps = weight.permute({2, 3, 1, 0}).contiguous();
  return transformed({.numbers = floats_of(taps),
                      .channels = channels,
                      .out_channels = out,
                      .tap_step = channels * out,
                      .channel_step = out});
}

WinogradWeight turned_winograd_weight_of(const Tensor& weight) {
  const int64_t out = weight.size(0), channels = weight.size(1);
  const Tensor taps = weight.contiguous(at::MemoryFormat::ChannelsLast);
  return transformed({.numbers = floats_of(taps),
                      .channels = out,
                      .out_channels = channels,
                      .tap_step = channels,
                      .channel_step = 9 * channels,
                      .is_turned = true});
}

Tensor convolve_winograd(const Tensor& x, const WinogradWeight& weight, const Tensor& bias,
                         const Tensor& residual, int64_t padding, bool is_upsampled) {
  check_arg(x.size(1) == weight.in_channels, "[conv2d] x must have the weight's ",
            weight.in_channels, " channels, got ", x.sizes());
  check_arg(!bias.defined() || bias.numel() == weight.out_channels,
            "[conv2d] bias must have the weight's ", weight.out_channels, " channels, got ",
            bias.defined() ? bias.numel() : 0);
  const Tensor dense_bias = bias.defined() ? bias.contiguous() : bias;
  const int64_t times = is_upsampled ? 2 : 1;
  const WinogradConvolution c{.images = x.size(0),
                              .height = x.size(2) * times,
                              .width = x.size(3) * times,
                              .channels = weight.in_channels,
                              .out_channels = weight.out_channels,
                              .padding = padding,
                              .is_upsampled = is_upsampled};
  Tensor y = at::empty({c.images, c.out_channels, c.out_height(), c.out_width()},
                       x.options().memory_format(at::MemoryFormat::ChannelsLast));
  if (y.numel() == 0) return y;
  convolve_pieces(c, {.x = floats_of(x),
                      .weight = floats_of(weight.numbers),
                      .bias = floats_of(dense_bias),
                      .residual = floats_of(residual),
                      .y = y.mutable_data_ptr<float>()});
  return y;
}

}  // namespace ddpm::cpu
