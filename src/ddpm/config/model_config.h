#pragma once

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "ddpm/config/classifier_config.h"
#include "ddpm/config/field.h"
#include "ddpm/config/simple_unet_config.h"

namespace ddpm {

enum class ModelKind { kUNet2D, kSimpleUnet, kClassifier };
enum class DownBlockType { kDown, kAttnDown, kResnetDown };
enum class UpBlockType { kUp, kAttnUp, kResnetUp };
enum class ResampleType { kConv, kResnet };
enum class TimeScaleShift { kDefault, kScaleShift };
enum class ClassEmbedType { kNone, kTimestep, kIdentity };
enum class WeightInit { kPyTorch, kZeroResidual, kXavier };

template <>
struct EnumNames<ModelKind> {
  static constexpr std::array names{"unet2d", "simple_unet", "classifier"};
};
template <>
struct EnumNames<DownBlockType> {  // diffusers' names, which its JSON files use
  static constexpr std::array names{"DownBlock2D", "AttnDownBlock2D", "ResnetDownsampleBlock2D"};
};
template <>
struct EnumNames<UpBlockType> {
  static constexpr std::array names{"UpBlock2D", "AttnUpBlock2D", "ResnetUpsampleBlock2D"};
};
template <>
struct EnumNames<ResampleType> {
  static constexpr std::array names{"conv", "resnet"};
};
template <>
struct EnumNames<TimeScaleShift> {
  static constexpr std::array names{"default", "scale_shift"};
};
template <>
struct EnumNames<ClassEmbedType> {
  static constexpr std::array names{"none", "timestep", "identity"};
};
template <>
struct EnumNames<WeightInit> {
  static constexpr std::array names{"pytorch", "zero_residual", "xavier"};
};

/// UNet2D: the options of diffusers' UNet2DModel, under its names and with its defaults, but for
/// in_channels, out_channels and sample_size, where 0 takes what the data has. Then those of
/// improved-diffusion, ADM and DDPM++ that UNet2DModel lacks; at their defaults it is UNet2DModel.
struct UNet2DConfig {
  int64_t sample_size = 0;
  int64_t in_channels = 0;
  int64_t out_channels = 0;
  bool center_input_sample = false;
  int64_t freq_shift = 0;
  bool flip_sin_to_cos = true;
  std::vector<DownBlockType> down_block_types{DownBlockType::kDown, DownBlockType::kAttnDown,
                                              DownBlockType::kAttnDown, DownBlockType::kAttnDown};
  std::vector<UpBlockType> up_block_types{UpBlockType::kAttnUp, UpBlockType::kAttnUp,
                                          UpBlockType::kAttnUp, UpBlockType::kUp};
  std::vector<int64_t> block_out_channels{224, 448, 672, 896};
  int64_t layers_per_block = 2;
  double mid_block_scale_factor = 1.0;
  int64_t downsample_padding = 1;
  ResampleType downsample_type = ResampleType::kConv;
  ResampleType upsample_type = ResampleType::kConv;
  double dropout = 0.0;
  std::string act_fn = "silu";
  int64_t attention_head_dim = 8;
  int64_t norm_num_groups = 32;
  int64_t attn_norm_num_groups = 0;
  double norm_eps = 1e-5;
  TimeScaleShift resnet_time_scale_shift = TimeScaleShift::kDefault;
  bool add_attention = true;
  ClassEmbedType class_embed_type = ClassEmbedType::kNone;
  int64_t num_class_embeds = 0;

  int64_t attention_num_heads = 0;
  bool attention_last_up_only = false;
  bool conv_resample = true;
  bool resample_projection = false;
  double skip_scale = 1.0;
  int64_t conv_in_channels = 0;
  int64_t time_embed_channels = 0;
  double timestep_scale = 1.0;
  int64_t augment_dim = 0;
  WeightInit weight_init = WeightInit::kPyTorch;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("sample_size", sample_size, "side of the images; 0 from the data", at_least(0));
    visit("in_channels", in_channels, "0 from the data", at_least(0));
    visit("out_channels", out_channels, "0 from the data", at_least(0));
    visit("center_input_sample", center_input_sample, "map inputs from [0, 1] to [-1, 1] first");
    visit("freq_shift", freq_shift, "timestep embedding divides by half - freq_shift",
          between(0, 1));
    visit("flip_sin_to_cos", flip_sin_to_cos, "timestep embedding is [cos, sin], not [sin, cos]");
    visit("down_block_types", down_block_types, "one a level, highest resolution first");
    visit("up_block_types", up_block_types, "one a level, lowest resolution first");
    visit("block_out_channels", block_out_channels, "channels of each level");
    visit("layers_per_block", layers_per_block, "res blocks a level", between(1, 64));
    visit("mid_block_scale_factor", mid_block_scale_factor, "divides the middle's residual sums");
    visit("downsample_padding", downsample_padding, "1: symmetric; 0: right and bottom only",
          between(0, 1));
    visit("downsample_type", downsample_type, "of AttnDownBlock2D's resampling");
    visit("upsample_type", upsample_type, "of AttnUpBlock2D's resampling");
    visit("dropout", dropout, "in every res block", between(0, 1));
    visit("act_fn", act_fn, "activation; silu is the one that is supported");
    visit("attention_head_dim", attention_head_dim, "channels a head; 0: one head", at_least(0));
    visit("norm_num_groups", norm_num_groups, "groups of every norm", at_least(1));
    visit("attn_norm_num_groups", attn_norm_num_groups,
          "groups of the middle attention's norm; 0: norm_num_groups", at_least(0));
    visit("norm_eps", norm_eps, "epsilon of every norm", at_least(0));
    visit("resnet_time_scale_shift", resnet_time_scale_shift,
          "add the time embedding, or scale and shift by it");
    visit("add_attention", add_attention, "attention in the middle block");
    visit("class_embed_type", class_embed_type,
          "how class labels enter; none uses "
          "num_class_embeds");
    visit("num_class_embeds", num_class_embeds, "size of the class embedding table; 0: no classes",
          at_least(0));
    visit_own_fields(visit);
  }

  /// The options that UNet2DModel lacks.
  template <typename Visitor>
  void visit_own_fields(Visitor&& visit) {
    visit("attention_num_heads", attention_num_heads,
          "heads of every attention; 0: by attention_head_dim", at_least(0));
    visit("attention_last_up_only", attention_last_up_only,
          "an AttnUpBlock2D attends after its last res block only [DDPM++]");
    visit("conv_resample", conv_resample,
          "false: between levels a mean of 2 x 2 or a repetition, without a convolution [ADM]");
    visit("resample_projection", resample_projection,
          "res blocks that resample have a 1 x 1 convolution on their shortcut [DDPM++]");
    visit("skip_scale", skip_scale,
          "multiplies the sum of every res block and attention; DDPM++ has sqrt(1/2)");
    visit("conv_in_channels", conv_in_channels,
          "channels of the first convolution; 0: block_out_channels[0]", at_least(0));
    visit("time_embed_channels", time_embed_channels,
          "size of the timestep embedding, whose MLP has 4 times that; 0: block_out_channels[0]",
          at_least(0));
    visit("timestep_scale", timestep_scale,
          "multiplies t before its embedding; improved-diffusion has 1000 / num_timesteps");
    visit("augment_dim", augment_dim,
          "numbers that say how an image was augmented; 0: none [DDPM++ has 9]", at_least(0));
    visit("weight_init", weight_init,
          "pytorch's default; the same with zeros where a residual branch ends "
          "[improved-diffusion]; xavier [DDPM++]");
  }
};

/// Which network, and its options.
struct ModelConfig {
  ModelKind kind = ModelKind::kUNet2D;
  UNet2DConfig unet2d;
  SimpleUnetConfig simple_unet;
  ClassifierConfig classifier = {};

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("kind", kind,
          "the network: one of two that denoise, or one that classifies noisy images");
    visit("unet2d", unet2d, "kind = unet2d: options, named as in diffusers' UNet2DModel");
    visit("simple_unet", simple_unet, "kind = simple_unet: options");
    visit("classifier", classifier, "kind = classifier: options");
  }
};

}  // namespace ddpm
