#include "ddpm/kernels/cpu/weight_gradient_bf16.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>

#include "ddpm/kernels/cpu/amx_weight_gradient.h"
#include "ddpm/kernels/cpu/share_out.h"
#include "ddpm/kernels/cpu/words.h"

namespace ddpm::cpu {
namespace {

/// To a kernel of one tap pixels are images of one pixel.
WeightGradientShape shape_of(const Tensor& d_y, const Tensor& x, int64_t kernel, int64_t stride,
                             int64_t padding) {
  if (kernel == 1) {
    return {.images = x.size(0) * x.size(2) * x.size(3),
            .channels = x.size(1),
            .height = 1,
            .width = 1,
            .out_channels = d_y.size(1),
            .out_height = 1,
            .out_width = 1,
            .kernel = 1,
            .stride = 1,
            .padding = 0};
  }
  return {.images = x.size(0),
          .channels = x.size(1),
          .height = x.size(2),
          .width = x.size(3),
          .out_channels = d_y.size(1),
          .out_height = d_y.size(2),
          .out_width = d_y.size(3),
          .kernel = kernel,
          .stride = stride,
          .padding = padding};
}

/// The tiles and sums of a thread, and what multiplies them.
struct ThreadOfGradient {
  ThreadOfGradient(const WeightGradientPlan& plan, const GradientMemory& memory)
      : tiles(at::empty({plan.num_tile_numbers()}, at::kBFloat16)),
        sums(at::empty({plan.num_thread_sums()}, at::kFloat)),
        worker(plan, memory, mutable_words_of(tiles), sums.mutable_data_ptr<float>()) {}

  Tensor tiles, sums;
  GradientWorker worker;
};

}  // namespace

bool has_weight_gradient_bf16(const Tensor& d_y, const Tensor& x, int64_t kernel, int64_t stride,
                              int64_t padding) {
  const auto is_taken = [](const Tensor& map) {
    return map.is_cpu() && map.scalar_type() == at::kBFloat16 && map.dim() == 4 &&
           map.size(1) % kChannelsPerTile == 0 && map.numel() > 0 &&
           map.is_contiguous(at::MemoryFormat::ChannelsLast);
  };
  const bool is_pixel_kernel = kernel == 1 && stride == 1 && padding == 0;
  return has_amx_weight_gradient() && is_taken(d_y) && is_taken(x) &&
         (is_pixel_kernel || (kernel == 3 && padding < kernel));
}

Tensor weight_gradient_bf16(const Tensor& d_y, const Tensor& x, int64_t kernel, int64_t stride,
                            int64_t padding) {
  const WeightGradientPlan plan(shape_of(d_y, x, kernel, stride, padding));
  const Tensor d_weight = at::empty({d_y.size(1), x.size(1), kernel, kernel},
                                    x.options().memory_format(at::MemoryFormat::ChannelsLast));
  const Tensor sums = at::empty({plan.num_sums()}, at::kFloat);
  const GradientMemory memory{.d_y = words_of(d_y),
                              .x = words_of(x),
                              .sums = sums.mutable_data_ptr<float>(),
                              .d_weight = mutable_words_of(d_weight)};
  share_out(
      plan.num_tasks(), at::get_num_threads(), [&] { return ThreadOfGradient(plan, memory); },
      [](const ThreadOfGradient& thread, int64_t task) { thread.worker.run(task); });
  if (plan.rounds_at_once()) return d_weight;
  share_out(
      plan.d_y.channel_tiles(), at::get_num_threads(), [] { return 0; },
      [&](int, int64_t out_tile) { round_parts(plan, memory, out_tile); });
  return d_weight;
}

}  // namespace ddpm::cpu
