#include "ddpm/model/check_model_config.h"

#include <algorithm>
#include <stdexcept>

#include "ddpm/core/check.h"
#include "ddpm/model/simple_unet_placement.h"

namespace ddpm {
namespace {

constexpr const char* kWhere = "[make_network] ";

void check_resolved(const char* field, int64_t value) {
  check_arg(value > 0, kWhere, field, " must be known: expected at least 1, got ", value);
}

void check_range(const char* field, double value, double min, double max) {
  check_arg(value >= min && value <= max, kWhere, field, " is out of range: expected ", min, " to ",
            max, ", got ", value);
}

void check_levels(const UNet2DConfig& config) {
  const size_t levels = config.block_out_channels.size();
  check_arg(levels >= 1 && levels <= 16, kWhere,
            "unet2d.block_out_channels must list the levels: expected 1 to 16 of them, got ",
            levels);
  check_arg(config.down_block_types.size() == levels, kWhere,
            "unet2d.down_block_types must name one block a level: expected ", levels, ", got ",
            config.down_block_types.size());
  check_arg(config.up_block_types.size() == levels, kWhere,
            "unet2d.up_block_types must name one block a level: expected ", levels, ", got ",
            config.up_block_types.size());
  check_arg(config.conv_in_channels >= 0 && config.conv_in_channels % config.norm_num_groups == 0,
            kWhere, "unet2d.norm_num_groups must divide unet2d.conv_in_channels: expected a ",
            "multiple of ", config.norm_num_groups, ", got ", config.conv_in_channels);
  for (const int64_t channels : config.block_out_channels) {
    check_arg(
        channels >= 1 && channels % config.norm_num_groups == 0, kWhere,
        "unet2d.norm_num_groups must divide unet2d.block_out_channels: expected multiples of ",
        config.norm_num_groups, ", got ", channels);
  }
}

void check_attention(const UNet2DConfig& config) {
  check_arg(config.attention_head_dim >= 0, kWhere,
            "unet2d.attention_head_dim is out of range: expected at least 0, got ",
            config.attention_head_dim);
  const int64_t heads = config.attention_num_heads;
  check_arg(heads >= 0, kWhere,
            "unet2d.attention_num_heads is out of range: expected at least 0, got ", heads);
  const size_t levels = config.block_out_channels.size();
  for (size_t i = 0; i < levels; ++i) {
    const bool attends = config.down_block_types[i] == DownBlockType::kAttnDown ||
                         config.up_block_types[levels - 1 - i] == UpBlockType::kAttnUp ||
                         (i + 1 == levels && config.add_attention);
    if (!attends) continue;
    check_arg(heads == 0 || config.block_out_channels[i] % heads == 0, kWhere,
              "unet2d.attention_num_heads must divide the channels: expected a divisor of ",
              config.block_out_channels[i], " at level ", i, ", got ", heads);
    check_arg(heads > 0 || config.attention_head_dim <= config.block_out_channels[i], kWhere,
              "unet2d.attention_head_dim leaves no head: expected at most ",
              config.block_out_channels[i], " at level ", i, ", got ", config.attention_head_dim);
  }
  const int64_t groups = config.attn_norm_num_groups;
  check_arg(groups >= 0 && (groups == 0 || config.block_out_channels.back() % groups == 0), kWhere,
            "unet2d.attn_norm_num_groups must divide the last of unet2d.block_out_channels: "
            "expected a divisor of ",
            config.block_out_channels.back(), ", got ", groups);
}

void check_embedding(const UNet2DConfig& config) {
  const int64_t first = config.block_out_channels.front();
  const int64_t size = config.time_embed_channels == 0 ? first : config.time_embed_channels;
  check_arg(size / 2 > config.freq_shift, kWhere,
            "unet2d.time_embed_channels, or the first of unet2d.block_out_channels, is too small: "
            "expected at least ",
            2 * (config.freq_shift + 1), ", got ", size);
  check_arg(config.augment_dim >= 0, kWhere,
            "unet2d.augment_dim is out of range: expected at least 0, got ", config.augment_dim);
}

void check_unet2d(const UNet2DConfig& config) {
  check_resolved("unet2d.in_channels", config.in_channels);
  check_resolved("unet2d.out_channels", config.out_channels);
  check_resolved("unet2d.norm_num_groups", config.norm_num_groups);
  check_resolved("unet2d.layers_per_block", config.layers_per_block);
  check_levels(config);
  check_attention(config);
  check_range("unet2d.dropout", config.dropout, 0.0, 1.0);
  check_range("unet2d.downsample_padding", static_cast<double>(config.downsample_padding), 0.0,
              1.0);
  check_range("unet2d.freq_shift", static_cast<double>(config.freq_shift), 0.0, 1.0);
  check_embedding(config);
  check_arg(config.act_fn == "silu", kWhere,
            "unet2d.act_fn is not supported: expected 'silu', got '", config.act_fn, "'");
  check_arg(config.mid_block_scale_factor != 0.0, kWhere,
            "unet2d.mid_block_scale_factor divides: expected a number other than 0, got 0");
  check_arg(config.skip_scale != 0.0, kWhere,
            "unet2d.skip_scale multiplies every sum: expected a number other than 0, got 0");
  check_arg(config.num_class_embeds >= 0, kWhere,
            "unet2d.num_class_embeds is out of range: expected at least 0, got ",
            config.num_class_embeds);
  const int64_t factor = int64_t{1} << (config.block_out_channels.size() - 1);
  check_arg(config.sample_size % factor == 0, kWhere,
            "unet2d.sample_size must survive the downsampling: expected a multiple of ", factor,
            ", got ", config.sample_size);
}

void check_classifier(const ClassifierConfig& config) {
  check_resolved("classifier.in_channels", config.in_channels);
  check_resolved("classifier.num_classes", config.num_classes);
  check_resolved("classifier.layers_per_block", config.layers_per_block);
  check_resolved("classifier.norm_num_groups", config.norm_num_groups);
  check_range("classifier.dropout", config.dropout, 0.0, 1.0);
  const size_t levels = config.block_out_channels.size();
  check_arg(levels >= 1 && levels <= 16, kWhere,
            "classifier.block_out_channels must list the levels: expected 1 to 16 of them, got ",
            levels);
  for (const int64_t channels : config.block_out_channels) {
    check_arg(channels >= 2 && channels % config.norm_num_groups == 0, kWhere,
              "classifier.norm_num_groups must divide classifier.block_out_channels: expected ",
              "multiples of ", config.norm_num_groups, " from 2 on, got ", channels);
  }
  const int64_t last = config.block_out_channels.back();
  check_arg(
      config.attention_head_dim >= 0 && (!config.attention || config.attention_head_dim <= last),
      kWhere, "classifier.attention_head_dim leaves no head: expected 0 to ", last, ", got ",
      config.attention_head_dim);
}

}  // namespace

void check_model_config(const ModelConfig& config) {
  switch (config.kind) {
    case ModelKind::kUNet2D:
      check_unet2d(config.unet2d);
      return;
    case ModelKind::kSimpleUnet:
      check_resolved("simple_unet.image_channels", config.simple_unet.image_channels);
      check_range("simple_unet.dropout", config.simple_unet.dropout, 0.0, 1.0);
      check_range("simple_unet.self_attention_dropout", config.simple_unet.self_attention_dropout,
                  0.0, 1.0);
      check_simple_unet(config.simple_unet, kWhere);
      return;
    case ModelKind::kClassifier:
      check_classifier(config.classifier);
      return;
  }
  throw std::logic_error("[make_network] not a ModelKind");
}

}  // namespace ddpm
