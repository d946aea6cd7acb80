#include "ddpm/model/unet2d_options.h"

#include <stdexcept>

namespace ddpm {
namespace {

LevelResampling resampling_of(ResampleType type) {
  return type == ResampleType::kConv ? LevelResampling::kConv : LevelResampling::kResnet;
}

ResnetOptions resnet_options(const UNet2DConfig& config) {
  return {.time_channels = kTimeChannelsPerChannel * time_embed_channels(config),
          .norm_num_groups = config.norm_num_groups,
          .norm_eps = config.norm_eps,
          .dropout = config.dropout,
          .time_scale_shift = config.resnet_time_scale_shift,
          .output_scale_factor = 1.0 / config.skip_scale,
          .resample_projection = config.resample_projection,
          .weight_init = config.weight_init};
}

AttentionOptions attention_options(const UNet2DConfig& config) {
  return {.head_channels = config.attention_head_dim,
          .num_heads = config.attention_num_heads,
          .norm_num_groups = config.norm_num_groups,
          .norm_eps = config.norm_eps,
          .output_scale_factor = 1.0 / config.skip_scale,
          .weight_init = config.weight_init};
}

/// Options of the two ways but for attention and resampling, which each block type sets.
LevelOptions level_options(const UNet2DConfig& config) {
  return {.num_layers = config.layers_per_block,
          .attention_last_up_only = config.attention_last_up_only,
          .downsample_padding = config.downsample_padding,
          .resnet = resnet_options(config),
          .attention_options = attention_options(config)};
}

}  // namespace

int64_t conv_in_channels(const UNet2DConfig& config) {
  return config.conv_in_channels == 0 ? config.block_out_channels.front() : config.conv_in_channels;
}

int64_t time_embed_channels(const UNet2DConfig& config) {
  return config.time_embed_channels == 0 ? config.block_out_channels.front()
                                         : config.time_embed_channels;
}

LevelResampling level_resampling(const UNet2DConfig& config, LevelResampling wanted, bool is_last) {
  if (is_last) return LevelResampling::kNone;
  const bool plain = wanted == LevelResampling::kConv && !config.conv_resample;
  return plain ? LevelResampling::kPlain : wanted;
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
  resnet.output_scale_factor *= config.mid_block_scale_factor;
  AttentionOptions attention = attention_options(config);
  attention.output_scale_factor *= config.mid_block_scale_factor;
  // diffusers leaves the middle's norm out with scale_shift, unless its groups are given.
  if (config.attn_norm_num_groups > 0) {
    attention.norm_num_groups = config.attn_norm_num_groups;
  } else if (config.resnet_time_scale_shift == TimeScaleShift::kScaleShift) {
    attention.norm_num_groups = 0;
  }
  return MidBlock(config.block_out_channels.back(), config.add_attention, resnet, attention);
}

}  // namespace ddpm
