#include "ddpm/model/simple_unet.h"

#include <ATen/ATen.h>

#include <string>
#include <utility>

#include "ddpm/core/check.h"
#include "ddpm/model/simple_unet_placement.h"
#include "ddpm/model/timestep_embedding.h"

namespace ddpm {
namespace {

size_t index(int64_t level) { return static_cast<size_t>(level); }

/// The block from one level to a neighbour.
SimpleBlockOptions block_options(const SimpleUnetConfig& config, int64_t from, int64_t to) {
  SimpleBlockOptions options{.in_channels = config.level_channels[index(from)],
                             .out_channels = config.level_channels[index(to)],
                             .direction = to > from ? SimpleDirection::kDown : SimpleDirection::kUp,
                             .norm_num_groups = config.norm_num_groups,
                             .dropout = config.dropout};
  if (has_gate(config, GatePlace::kBlockEnd, from)) {
    options.gate = {.kind = config.gate, .reduction = config.gate_reduction};
  }
  return options;
}

Tensor attend(SelfAttentionBlock& block, const Tensor& x) { return block ? block->forward(x) : x; }

}  // namespace

SimpleUnetImpl::SimpleUnetImpl(const SimpleUnetConfig& config)
    : config_(config), bottleneck_(bottleneck_level(config)) {
  const int64_t first = config.level_channels.front();
  time_mlp_ = add_list(*this, "time_mlp")
                  ->register_module("1", Linear(kSimpleTimeChannels, kSimpleTimeChannels));
  conv0_ = register_module("conv0", Conv2d(config.image_channels, first));
  add_blocks();
  add_gates();
  add_self_attention();
  output_ = register_module("output", Conv2d(first, config.image_channels,
                                             Conv2dImpl::Options{.kernel = 1, .padding = 0}));
}

void SimpleUnetImpl::add_blocks() {
  const auto down_list = add_list(*this, "down_blocks");
  const auto up_list = add_list(*this, "up_blocks");
  for (int64_t i = 0; i < bottleneck_; ++i) {
    const int64_t level = bottleneck_ - i;
    const std::string name = std::to_string(i);
    down_blocks_.push_back(
        down_list->register_module(name, SimpleBlock(block_options(config_, i, i + 1))));
    up_blocks_.push_back(
        up_list->register_module(name, SimpleBlock(block_options(config_, level, level - 1))));
  }
}

void SimpleUnetImpl::add_gates() {
  skip_gates_.resize(config_.level_channels.size());
  const auto list = add_list(*this, "skip_gates");
  for (int64_t level = 1; level <= bottleneck_; ++level) {
    if (!has_gate(config_, GatePlace::kSkip, level)) continue;
    const int64_t channels = config_.level_channels[index(level)];
    // The up block below this level works on the next one, and with this one's channels.
    skip_gates_[index(level)] = list->register_module(
        std::to_string(level), make_gate({.kind = config_.gate,
                                          .channels = channels,
                                          .coarser_channels = channels,
                                          .reduction = config_.gate_reduction}));
  }
  if (has_gate(config_, GatePlace::kBottleneck, bottleneck_)) {
    bottleneck_gate_ =
        register_module("bottleneck_gate", make_gate({.kind = config_.gate,
                                                      .channels = config_.level_channels.back(),
                                                      .reduction = config_.gate_reduction}));
  }
}

void SimpleUnetImpl::add_self_attention() {
  down_attention_.resize(config_.level_channels.size(), SelfAttentionBlock(nullptr));
  up_attention_ = down_attention_;
  const auto down_list = add_list(*this, "down_self_attention");
  const auto up_list = add_list(*this, "up_self_attention");
  const auto block = [&](int64_t level) {
    return SelfAttentionBlock(config_.level_channels[index(level)], config_.self_attention_dropout);
  };
  for (int64_t level = 0; level < bottleneck_; ++level) {
    if (!has_self_attention(config_, level)) continue;
    const std::string name = std::to_string(level);
    down_attention_[index(level)] = down_list->register_module(name, block(level));
    up_attention_[index(level)] = up_list->register_module(name, block(level));
  }
  if (has_self_attention(config_, bottleneck_)) {
    down_attention_.back() = register_module("self_attention", block(bottleneck_));
  }
}

Tensor SimpleUnetImpl::embed(const Tensor& t, at::ScalarType dtype) {
  const Tensor waves =
      timestep_embedding(t, {.size = kSimpleTimeChannels,
                             .flip_sin_to_cos = false,
                             .freq_shift = 1,
                             .dtype = dtype == at::kDouble ? at::kDouble : at::kFloat,
                             .rounded_to = dtype});
  return at::relu(time_mlp_->forward(waves));
}

TimeRows SimpleUnetImpl::time_rows(const Tensor& e) const {
  std::vector<SimpleBlock> blocks = down_blocks_;
  blocks.insert(blocks.end(), up_blocks_.begin(), up_blocks_.end());
  return simple_time_rows(std::move(blocks), e);
}

Tensor SimpleUnetImpl::forward(const Tensor& x, const Tensor& t, const NetworkLabels& labels) {
  check_network_input("SimpleUnet", x, t, config_.image_channels, size_factor(config_));
  check_arg(!labels.class_labels.defined(),
            "[SimpleUnet] this network has no classes: expected no class_labels, got some");
  check_arg(
      !labels.augment_labels.defined(),
      "[SimpleUnet] this network knows no augmentation: expected no augment_labels, got some");
  TimeRows times = time_rows(embed(t, x.scalar_type()));
  Tensor h = conv0_->forward(x.contiguous(at::MemoryFormat::ChannelsLast));
  h = attend(down_attention_.front(), h);
  std::vector<Tensor> skips{{}};  // one a level but the first
  for (int64_t level = 1; level <= bottleneck_; ++level) {
    skips.push_back(h = down_blocks_[index(level - 1)]->forward(h, times.next()).resampled);
    if (level == bottleneck_ && bottleneck_gate_) h = bottleneck_gate_->forward(h, {});
    h = attend(down_attention_[index(level)], h);
  }
  Tensor coarser;
  for (int64_t level = bottleneck_; level >= 1; --level) {
    Tensor& skip = skips[index(level)];
    if (const auto& gate = skip_gates_[index(level)]) skip = gate->forward(skip, coarser);
    auto [features, resampled] = up_blocks_[index(bottleneck_ - level)]->forward(
        at::cat({h, skip}, /*dim=*/1), times.next());
    skips.pop_back();
    coarser = features;
    h = attend(up_attention_[index(level - 1)], resampled);
  }
  return output_->forward(h);
}

}  // namespace ddpm
