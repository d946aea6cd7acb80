#include "ddpm/kernels/cpu/winograd_gradient.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include <algorithm>

#include "ddpm/kernels/cpu/integers.h"
#include "ddpm/kernels/cpu/share_out.h"
#include "ddpm/kernels/cpu/winograd_gradient_tiles.h"

namespace ddpm::cpu {
namespace {

constexpr int64_t kTilesTogether = 48;
constexpr int64_t kLeastTasks = 16;  // so that many threads have some, on any machine the same
constexpr int64_t kLeastTilesOfPart = 192;

/// How channels and tiles are shared out.
struct GradientPlan {
  int64_t tiles, in_blocks, out_blocks, parts;

  explicit GradientPlan(const WinogradConvolution& c)
      : tiles(c.num_tiles()),
        in_blocks(divide_up(c.channels, kWinogradIn)),
        out_blocks(divide_up(c.out_channels, kWinogradOut)),
        parts(std::clamp(kLeastTasks / blocks(), int64_t{1},
                         std::max(int64_t{1}, tiles / kLeastTilesOfPart))) {}

  int64_t blocks() const { return in_blocks * out_blocks; }
  WinogradBlock block(const WinogradConvolution& c, int64_t index) const {
    const int64_t first_in = index / out_blocks * kWinogradIn;
    const int64_t first_out = index % out_blocks * kWinogradOut;
    return {.first_in = first_in,
            .in = std::min(kWinogradIn, c.channels - first_in),
            .first_out = first_out,
            .out = std::min(kWinogradOut, c.out_channels - first_out)};
  }
};

/// A thread's.
struct GradientRoom {
  Tensor tiles, sums;

  explicit GradientRoom(bool has_sums)
      : tiles(at::zeros({winograd_gradient_room(kTilesTogether)}, at::kFloat)),
        sums(at::empty({has_sums ? kWinogradSums : 0}, at::kFloat)) {}
  float* cleared_sums() const {
    auto* const numbers = sums.mutable_data_ptr<float>();
    std::fill_n(numbers, kWinogradSums, 0.0F);
    return numbers;
  }
};

}  // namespace

Tensor winograd_weight_gradient(const Tensor& d_y, const Tensor& x, int64_t padding) {
  const WinogradConvolution c{.images = x.size(0),
                              .height = x.size(2),
                              .width = x.size(3),
                              .channels = x.size(1),
                              .out_channels = d_y.size(1),
                              .padding = padding};
  const WinogradGradient gradient{
      .convolution = c, .x = x.const_data_ptr<float>(), .d_y = d_y.const_data_ptr<float>()};
  const GradientPlan plan(c);
  const bool is_whole = plan.parts == 1;
  const int64_t part_step = plan.blocks() * kWinogradSums;
  Tensor taps = at::empty({3, 3, c.channels, c.out_channels}, at::kFloat);
  const Tensor parts = at::zeros({is_whole ? 0 : plan.parts * part_step}, at::kFloat);
  auto* const d_weight = taps.mutable_data_ptr<float>();
  auto* const all_sums = parts.mutable_data_ptr<float>();
  share_out(
      plan.blocks() * plan.parts, at::get_num_threads(), [&] { return GradientRoom(is_whole); },
      [&](const GradientRoom& room, int64_t task) {
        const int64_t part = task / plan.blocks();
        const WinogradBlock block = plan.block(c, task % plan.blocks());
        float* const sums = is_whole ? room.cleared_sums() : all_sums + task * kWinogradSums;
        const int64_t end = plan.tiles * (part + 1) / plan.parts;
        for (int64_t t = plan.tiles * part / plan.parts; t < end; t += kTilesTogether) {
          add_winograd_products(gradient, block,
                                {.first = t, .count = std::min(kTilesTogether, end - t)},
                                room.tiles.mutable_data_ptr<float>(), sums);
        }
        if (is_whole) finish_winograd_gradient(c, block, sums, 1, 0, d_weight);
      });
  at::parallel_for(0, is_whole ? 0 : plan.blocks(), 1, [&](int64_t begin, int64_t end) {
    for (int64_t index = begin; index < end; ++index) {
      finish_winograd_gradient(c, plan.block(c, index), all_sums + index * kWinogradSums,
                               plan.parts, part_step, d_weight);
    }
  });
  return taps.permute({3, 2, 0, 1}).contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace ddpm::cpu
