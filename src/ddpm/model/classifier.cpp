#include "ddpm/model/classifier.h"

#include <ATen/ATen.h>

#include <string>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

constexpr double kClassifierNormEps = 1e-5;
constexpr int64_t kTimeChannelsPerWave = 4;

LevelOptions classifier_level(const ClassifierConfig& config, bool is_last) {
  return {.num_layers = config.layers_per_block,
          .attention = config.attention && is_last,
          .resampling = is_last ? LevelResampling::kNone : LevelResampling::kConv,
          .resnet = {.time_channels = kTimeChannelsPerWave * config.block_out_channels.front(),
                     .norm_num_groups = config.norm_num_groups,
                     .norm_eps = kClassifierNormEps,
                     .dropout = config.dropout,
                     .time_scale_shift = TimeScaleShift::kScaleShift},
          .attention_options = {.head_channels = config.attention_head_dim,
                                .norm_num_groups = config.norm_num_groups,
                                .norm_eps = kClassifierNormEps}};
}

}  // namespace

ClassifierImpl::ClassifierImpl(const ClassifierConfig& config) : config_(config) {
  const int64_t first = config.block_out_channels.front();
  const int64_t last = config.block_out_channels.back();
  conv_in_ = register_module("conv_in", Conv2d(config.in_channels, first));
  time_embedding_ = register_module(
      "time_embedding", TimestepMlp(first, kTimeChannelsPerWave * first, WeightInit::kPyTorch));
  add_levels();
  conv_norm_out_ =
      register_module("conv_norm_out", GroupNorm(config.norm_num_groups, last, kClassifierNormEps));
  head_ = register_module("head", Linear(last, config.num_classes));
}

void ClassifierImpl::add_levels() {
  const std::vector<int64_t>& channels = config_.block_out_channels;
  const auto list = add_list(*this, "down_blocks");
  std::vector<ResnetBlock> blocks;
  for (size_t i = 0; i < channels.size(); ++i) {
    const int64_t above = i == 0 ? channels.front() : channels[i - 1];
    const LevelOptions options = classifier_level(config_, i + 1 == channels.size());
    down_blocks_.push_back(
        list->register_module(std::to_string(i), DownBlock(above, channels[i], options)));
    const std::vector<ResnetBlock> more = down_blocks_.back()->res_blocks();
    blocks.insert(blocks.end(), more.begin(), more.end());
  }
  time_projections_.set(blocks);
}

Tensor ClassifierImpl::features(const Tensor& x, const Tensor& t) {
  check_network_input("Classifier", x, t, config_.in_channels,
                      int64_t{1} << (config_.block_out_channels.size() - 1));
  const Tensor waves = timestep_embedding(t, {.size = config_.block_out_channels.front()});
  TimeRows time = time_projections_(at::silu(time_embedding_->forward(waves.to(x.scalar_type()))));
  Tensor h = conv_in_->forward(x.contiguous(at::MemoryFormat::ChannelsLast));
  for (DownBlock& block : down_blocks_) {
    std::vector<Tensor> skips;  // there is no way up to take them
    h = block->forward(h, time, skips);
  }
  return group_norm_silu(conv_norm_out_->args(h)).mean({2, 3});
}

Tensor ClassifierImpl::forward(const Tensor& x, const Tensor& t, const NetworkLabels& labels) {
  check_arg(!labels.class_labels.defined() && !labels.augment_labels.defined(),
            "[Classifier] a classifier tells the classes itself: expected no labels, got some");
  return head_->forward(features(x, t));
}

}  // namespace ddpm
