#include "ddpm/model/simple_block.h"

#include <ATen/ATen.h>

#include <utility>

#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/linear.h"

namespace ddpm {
namespace {

constexpr double kGroupNormEps = 1e-5;

/// norm(relu(conv(x))) + time, by whichever of the two norms the block has. A GPU's batch norm adds
/// the convolution's bias in its own passes; a CPU's convolution adds it in its own.
/// @param time [N, C], or undefined.
Tensor convolve_and_normalize(Conv2d& conv, BatchNorm2d& batch_norm, GroupNorm& group_norm,
                              const Tensor& x, const Tensor& time) {
  if (batch_norm && x.is_cuda()) {
    return batch_norm->forward_after_relu(conv->forward_without_bias(x), time, conv->bias());
  }
  if (batch_norm) return batch_norm->forward_after_relu(conv->forward(x), time);
  GroupNormSiluArgs args = group_norm->args(at::relu(conv->forward(x)));
  args.silu = false;
  const Tensor y = group_norm_silu(args);
  return time.defined() ? y + time.unsqueeze(2).unsqueeze(3) : y;
}

}  // namespace

SimpleBlockImpl::SimpleBlockImpl(const SimpleBlockOptions& options) : dropout_(options.dropout) {
  const bool up = options.direction == SimpleDirection::kUp;
  const int64_t channels = options.out_channels;
  const Conv2dImpl::Options resampling{.kernel = 4, .stride = 2, .padding = 1, .transposed = up};
  time_mlp_ = register_module("time_mlp", Linear(kSimpleTimeChannels, channels));
  conv1_ = register_module("conv1",
                           Conv2d(up ? 2 * options.in_channels : options.in_channels, channels));
  transform_ = register_module("transform", Conv2d(channels, channels, resampling));
  conv2_ = register_module("conv2", Conv2d(channels, channels));
  const int64_t groups = options.norm_num_groups;
  if (groups == 0) {
    batch_norm1_ = register_module("batch_norm1", BatchNorm2d(channels));
    batch_norm2_ = register_module("batch_norm2", BatchNorm2d(channels));
  } else {
    group_norm1_ = register_module("group_norm1", GroupNorm(groups, channels, kGroupNormEps));
    group_norm2_ = register_module("group_norm2", GroupNorm(groups, channels, kGroupNormEps));
  }
  if (options.gate.kind != GateKind::kNone) {
    GateOptions gate = options.gate;
    gate.channels = channels;
    gate_ = register_module(enum_word(gate.kind), make_gate(gate));
  }
}

SimpleBlockOutput SimpleBlockImpl::forward(const Tensor& x, const Tensor& time) {
  Tensor h = convolve_and_normalize(conv1_, batch_norm1_, group_norm1_, x, time);
  h = at::dropout(h, dropout_, is_training());
  h = convolve_and_normalize(conv2_, batch_norm2_, group_norm2_, h, {});
  if (gate_) h = gate_->forward(h, {});
  return {.features = h, .resampled = transform_->forward(h)};
}

TimeRows simple_time_rows(std::vector<SimpleBlock> blocks, const Tensor& e) {
  if (!e.is_cuda()) {
    std::vector<Tensor> rows;
    for (SimpleBlock& block : blocks) rows.push_back(at::relu(block->time_projection().forward(e)));
    return TimeRows(std::move(rows));
  }
  std::vector<Tensor> weights, biases;
  std::vector<int64_t> channels;
  for (SimpleBlock& block : blocks) {
    const LinearImpl& projection = block->time_projection();
    weights.push_back(projection.weight());
    biases.push_back(projection.bias());
    channels.push_back(projection.weight().size(0));
  }
  const Tensor all = linear({.x = e, .weight = at::cat(weights), .bias = at::cat(biases)});
  return TimeRows(at::relu(all).split_with_sizes(channels, /*dim=*/1));
}

}  // namespace ddpm
