#include "ddpm/model/unet2d.h"

#include <ATen/ATen.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

constexpr int64_t kTimeChannelsPerChannel = 4;

LevelResampling resampling_of(ResampleType type) {
  return type == ResampleType::kConv ? LevelResampling::kConv : LevelResampling::kResnet;
}

ResnetOptions resnet_options(const UNet2DConfig& config) {
  return {.time_channels = kTimeChannelsPerChannel * config.block_out_channels.front(),
          .norm_num_groups = config.norm_num_groups,
          .norm_eps = config.norm_eps,
          .dropout = config.dropout,
          .time_scale_shift = config.resnet_time_scale_shift};
}

/// Options of the two ways but for attention and resampling, which each block type sets.
LevelOptions level_options(const UNet2DConfig& config) {
  return {.num_layers = config.layers_per_block,
          .downsample_padding = config.downsample_padding,
          .resnet = resnet_options(config),
          .attention_options = {.head_channels = config.attention_head_dim,
                                .norm_num_groups = config.norm_num_groups,
                                .norm_eps = config.norm_eps}};
}

LevelOptions down_options(const UNet2DConfig& config, DownBlockType type) {
  LevelOptions options = level_options(config);
  switch (type) {
    case DownBlockType::kDown:
      return options;
    case DownBlockType::kAttnDown:
      options.attention = true;
      options.resampling = resampling_of(config.downsample_type);
      return options;
    case DownBlockType::kResnetDown:
      options.resampling = LevelResampling::kResnet;
      return options;
  }
  throw std::logic_error("[UNet2D] not a DownBlockType");
}

LevelOptions up_options(const UNet2DConfig& config, UpBlockType type) {
  LevelOptions options = level_options(config);
  options.num_layers += 1;
  switch (type) {
    case UpBlockType::kUp:
      return options;
    case UpBlockType::kAttnUp:
      options.attention = true;
      options.resampling = resampling_of(config.upsample_type);
      return options;
    case UpBlockType::kResnetUp:
      options.resampling = LevelResampling::kResnet;
      return options;
  }
  throw std::logic_error("[UNet2D] not an UpBlockType");
}

MidBlock make_mid_block(const UNet2DConfig& config) {
  ResnetOptions resnet = resnet_options(config);
  resnet.output_scale_factor = config.mid_block_scale_factor;
  AttentionOptions attention = level_options(config).attention_options;
  attention.output_scale_factor = config.mid_block_scale_factor;
  // diffusers leaves the middle's norm out with scale_shift, unless its groups are given.
  if (config.attn_norm_num_groups > 0) {
    attention.norm_num_groups = config.attn_norm_num_groups;
  } else if (config.resnet_time_scale_shift == TimeScaleShift::kScaleShift) {
    attention.norm_num_groups = 0;
  }
  return MidBlock(config.block_out_channels.back(), config.add_attention, resnet, attention);
}

}  // namespace

UNet2DImpl::UNet2DImpl(const UNet2DConfig& config) : config_(config) {
  const int64_t first = config.block_out_channels.front();
  const int64_t time_channels = kTimeChannelsPerChannel * first;
  conv_in_ = register_module("conv_in", Conv2d(config.in_channels, first));
  time_embedding_ = register_module("time_embedding", TimestepMlp(first, time_channels));
  switch (config.class_embed_type) {
    case ClassEmbedType::kNone:
      if (config.num_class_embeds > 0) {
        class_embedding_ =
            register_module("class_embedding", Embedding(config.num_class_embeds, time_channels));
      }
      break;
    case ClassEmbedType::kTimestep:
      class_timestep_embedding_ =
          register_module("class_embedding", TimestepMlp(first, time_channels));
      break;
    case ClassEmbedType::kIdentity:
      break;
  }
  add_levels();
  mid_block_ = register_module("mid_block", make_mid_block(config));
  conv_norm_out_ =
      register_module("conv_norm_out", GroupNorm(config.norm_num_groups, first, config.norm_eps));
  conv_out_ = register_module("conv_out", Conv2d(first, config.out_channels));
}

void UNet2DImpl::add_levels() {
  const std::vector<int64_t>& channels = config_.block_out_channels;
  const size_t num_levels = channels.size();
  const auto down_list = add_list(*this, "down_blocks");
  for (size_t i = 0; i < num_levels; ++i) {
    LevelOptions options = down_options(config_, config_.down_block_types[i]);
    if (i + 1 == num_levels) options.resampling = LevelResampling::kNone;
    down_blocks_.push_back(down_list->register_module(
        std::to_string(i), DownBlock(channels[i == 0 ? 0 : i - 1], channels[i], options)));
  }
  const auto up_list = add_list(*this, "up_blocks");
  for (size_t i = 0; i < num_levels; ++i) {
    LevelOptions options = up_options(config_, config_.up_block_types[i]);
    if (i + 1 == num_levels) options.resampling = LevelResampling::kNone;
    const size_t level = num_levels - 1 - i;
    const UpChannels up_channels{.below = channels[std::min(level + 1, num_levels - 1)],
                                 .skip = channels[level == 0 ? 0 : level - 1],
                                 .out = channels[level]};
    up_blocks_.push_back(
        up_list->register_module(std::to_string(i), UpBlock(up_channels, options)));
  }
}

void UNet2DImpl::check_input(const Tensor& x, const Tensor& t) const {
  const int64_t factor = int64_t{1} << (config_.block_out_channels.size() - 1);
  check_arg(x.dim() == 4 && x.size(1) == config_.in_channels,
            "[UNet2D] x does not fit: expected [N, ", config_.in_channels, ", H, W], got ",
            x.sizes());
  check_arg(x.size(2) % factor == 0 && x.size(3) % factor == 0,
            "[UNet2D] height and width must survive the downsampling: expected multiples of ",
            factor, ", got ", x.size(2), " x ", x.size(3));
  check_arg(t.dim() == 1 && t.size(0) == x.size(0),
            "[UNet2D] t must hold one timestep an image: expected [", x.size(0), "], got ",
            t.sizes());
}

Tensor UNet2DImpl::embed_classes(const Tensor& class_labels, int64_t images, at::ScalarType dtype) {
  const bool identity = config_.class_embed_type == ClassEmbedType::kIdentity;
  check_arg(class_labels.defined(), "[UNet2D] class labels are missing: expected class_labels of ",
            images, " images, got none");
  check_arg(class_labels.dim() == (identity ? 2 : 1) && class_labels.size(0) == images,
            "[UNet2D] class_labels do not fit: expected ", identity ? "one embedding" : "one label",
            " for each of ", images, " images, got ", class_labels.sizes());
  if (identity) return class_labels.to(dtype);
  if (class_embedding_) return class_embedding_->forward(class_labels);
  return class_timestep_embedding_->forward(
      timestep_embedding(class_labels, {.size = config_.block_out_channels.front(),
                                        .flip_sin_to_cos = config_.flip_sin_to_cos,
                                        .freq_shift = config_.freq_shift})
          .to(dtype));
}

Tensor UNet2DImpl::embed(const Tensor& t, const Tensor& class_labels, at::ScalarType dtype) {
  const Tensor waves = timestep_embedding(t, {.size = config_.block_out_channels.front(),
                                              .flip_sin_to_cos = config_.flip_sin_to_cos,
                                              .freq_shift = config_.freq_shift});
  Tensor e = time_embedding_->forward(waves.to(dtype));
  if (class_embedding_ || config_.class_embed_type != ClassEmbedType::kNone) {
    e = e + embed_classes(class_labels, t.size(0), dtype);
  } else {
    check_arg(!class_labels.defined(),
              "[UNet2D] this network has no classes: expected no class_labels, got ",
              class_labels.defined() ? class_labels.size(0) : 0);
  }
  return at::silu(e);
}

Tensor UNet2DImpl::forward(const Tensor& x, const Tensor& t, const Tensor& class_labels) {
  check_input(x, t);
  const Tensor e = embed(t, class_labels, x.scalar_type());
  const Tensor input = config_.center_input_sample ? 2 * x - 1 : x;
  Tensor h = conv_in_->forward(input.contiguous(at::MemoryFormat::ChannelsLast));
  std::vector<Tensor> skips{h};
  for (DownBlock& block : down_blocks_) h = block->forward(h, e, skips);
  h = mid_block_->forward(h, e);
  for (UpBlock& block : up_blocks_) h = block->forward(h, e, skips);
  return conv_out_->forward(group_norm_silu(conv_norm_out_->args(h)));
}

}  // namespace ddpm
