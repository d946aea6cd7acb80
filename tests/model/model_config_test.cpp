#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <stdexcept>
#include <string>

#include "ddpm/model/network.h"
#include "model/small_unet.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::small_unet_config;

std::string message_of(const std::function<void()>& body) {
  try {
    body();
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no std::invalid_argument";
}

TEST(MakeNetworkTest, NamesTheFieldThatIsWrong) {
  struct Case {
    std::function<void(UNet2DConfig&)> spoil;
    const char* field;
  };
  const Case cases[] = {
      {[](UNet2DConfig& c) { c.in_channels = 0; }, "unet2d.in_channels"},
      {[](UNet2DConfig& c) { c.out_channels = 0; }, "unet2d.out_channels"},
      {[](UNet2DConfig& c) { c.act_fn = "gelu"; }, "'gelu'"},
      {[](UNet2DConfig& c) { c.norm_num_groups = 5; }, "unet2d.norm_num_groups"},
      {[](UNet2DConfig& c) { c.norm_num_groups = 0; }, "unet2d.norm_num_groups"},
      {[](UNet2DConfig& c) { c.block_out_channels = {}; }, "unet2d.block_out_channels"},
      {[](UNet2DConfig& c) { c.down_block_types.pop_back(); }, "unet2d.down_block_types"},
      {[](UNet2DConfig& c) { c.up_block_types.pop_back(); }, "unet2d.up_block_types"},
      {[](UNet2DConfig& c) { c.attention_head_dim = 33; }, "unet2d.attention_head_dim"},
      {[](UNet2DConfig& c) { c.attn_norm_num_groups = 5; }, "unet2d.attn_norm_num_groups"},
      {[](UNet2DConfig& c) { c.mid_block_scale_factor = 0; }, "unet2d.mid_block_scale_factor"},
      {[](UNet2DConfig& c) { c.dropout = 1.5; }, "unet2d.dropout"},
      {[](UNet2DConfig& c) { c.layers_per_block = 0; }, "unet2d.layers_per_block"},
      {[](UNet2DConfig& c) { c.sample_size = 9; }, "unet2d.sample_size"},
      {[](UNet2DConfig& c) { c.freq_shift = 2; }, "unet2d.freq_shift"},
  };
  for (const Case& c : cases) {
    ModelConfig config = small_unet_config();
    c.spoil(config.unet2d);
    const std::string message = message_of([&] { make_network(config); });
    EXPECT_THAT(message, HasSubstr("[make_network] "));
    EXPECT_THAT(message, HasSubstr(c.field));
  }
  ModelConfig talk;
  talk.kind = ModelKind::kSimpleUnet;
  EXPECT_THAT(message_of([&] { make_network(talk); }), HasSubstr("simple_unet.image_channels"));
}

TEST(ResolveModelConfigTest, FillsWhatIsZeroFromTheData) {
  ModelConfig config = small_unet_config();
  config.unet2d.in_channels = config.unet2d.out_channels = 0;
  const ModelConfig resolved = resolve_model_config(config, 1, 28, 10);
  EXPECT_EQ(resolved.unet2d.in_channels, 1);
  EXPECT_EQ(resolved.unet2d.out_channels, 1);
  EXPECT_EQ(resolved.unet2d.sample_size, 28);
  EXPECT_EQ(resolved.unet2d.num_class_embeds, 10);
  EXPECT_EQ(resolve_model_config(config, 1, 28, 0).unet2d.num_class_embeds, 0);
}

TEST(ResolveModelConfigTest, LeavesRoomForAnExtraClassThatWasAskedFor) {
  ModelConfig config = small_unet_config();
  config.unet2d.num_class_embeds = 11;
  EXPECT_EQ(resolve_model_config(config, 3, 32, 10).unet2d.num_class_embeds, 11);
}

TEST(ResolveModelConfigTest, ALearnedVarianceDoublesTheOutput) {
  ModelConfig config = small_unet_config();
  config.unet2d.out_channels = 0;
  const NetworkDemands demands{.learned_variance = true};
  EXPECT_EQ(resolve_model_config(config, 3, 32, 0, demands).unet2d.out_channels, 6);
  config.unet2d.out_channels = 3;
  EXPECT_THAT(message_of([&] { resolve_model_config(config, 3, 32, 0, demands); }),
              HasSubstr("unet2d.out_channels disagrees with the data: expected 6, got 3"));
  ModelConfig talk;
  talk.kind = ModelKind::kSimpleUnet;
  EXPECT_THAT(message_of([&] { resolve_model_config(talk, 3, 32, 0, demands); }),
              HasSubstr("got learned_range"));
}

TEST(ResolveModelConfigTest, WhatTheNetworkSeesBesideTheImageAddsChannels) {
  RunConfig config;
  config.model = small_unet_config();
  config.model.unet2d.in_channels = 0;
  const auto in_channels = [&] {
    return resolve_run_config(config, 3, 32, 0).model.unet2d.in_channels;
  };
  config.train.super_resolution = 2;
  EXPECT_EQ(in_channels(), 6);
  EXPECT_EQ(resolve_run_config(config, 3, 32, 0).model.unet2d.out_channels, 3);
  config.train.self_conditioning = true;
  EXPECT_EQ(in_channels(), 9);
  config.train.super_resolution = 5;
  EXPECT_THAT(message_of(in_channels), HasSubstr("expected a divisor of 32, got 5"));
  config.model.kind = ModelKind::kSimpleUnet;
  config.train.self_conditioning = false;
  EXPECT_THAT(message_of(in_channels), HasSubstr("expected train.super_resolution = 0"));
}

TEST(ResolveModelConfigTest, AugmentationSetsTheNumberOfItsLabels) {
  RunConfig config;
  config.model = small_unet_config();
  EXPECT_EQ(resolve_run_config(config, 3, 32, 0).model.unet2d.augment_dim, 0);
  config.augment.enabled = true;
  EXPECT_EQ(resolve_run_config(config, 3, 32, 0).model.unet2d.augment_dim, 9);
  config.augment.rotation = false;
  EXPECT_EQ(resolve_run_config(config, 3, 32, 0).model.unet2d.augment_dim, 7);
  config.model.unet2d.augment_dim = 9;
  EXPECT_THAT(message_of([&] { resolve_run_config(config, 3, 32, 0); }),
              HasSubstr("unet2d.augment_dim disagrees with the kinds of augmentation that are on: "
                        "expected 7, got 9"));
  config.model.kind = ModelKind::kSimpleUnet;
  EXPECT_THAT(message_of([&] { resolve_run_config(config, 3, 32, 0); }),
              HasSubstr("expected augment.enabled = false"));
}

TEST(ResolveModelConfigTest, RefusesWhatDisagreesWithTheData) {
  ModelConfig config = small_unet_config();
  EXPECT_THAT(message_of([&] { resolve_model_config(config, 1, 28, 0); }),
              HasSubstr("unet2d.in_channels disagrees with the data: expected 1, got 3"));
  config.unet2d.num_class_embeds = 9;
  EXPECT_THAT(message_of([&] { resolve_model_config(config, 3, 32, 10); }),
              HasSubstr("unet2d.num_class_embeds"));
  EXPECT_THAT(message_of([&] { resolve_model_config(config, 3, 32, 0); }),
              HasSubstr("unet2d.num_class_embeds wants class labels"));
  config.unet2d.class_embed_type = ClassEmbedType::kTimestep;
  EXPECT_THAT(message_of([&] { resolve_model_config(config, 3, 32, 0); }),
              HasSubstr("expected none, got timestep"));
  ModelConfig talk;
  talk.kind = ModelKind::kSimpleUnet;
  EXPECT_EQ(resolve_model_config(talk, 1, 32, 0).simple_unet.image_channels, 1);
  EXPECT_THAT(message_of([&] { resolve_model_config(talk, 1, 28, 0); }),
              HasSubstr("multiple of 16"));
  EXPECT_THAT(message_of([&] { resolve_model_config(talk, 1, 32, 10); }),
              HasSubstr("class_conditional"));
}

}  // namespace
}  // namespace ddpm
