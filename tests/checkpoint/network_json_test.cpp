#include "ddpm/checkpoint/network_json.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "checkpoint/safetensors_bytes.h"
#include "ddpm/config/json_config.h"

namespace ddpm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using Json = nlohmann::json;
using testing::message_of;

ModelConfig read_network(const Json& json) { return network_from_json(json, "config.json"); }

std::string network_refusal(const Json& json) {
  return message_of<std::invalid_argument>([&] { read_network(json); });
}

/// unet/config.json of google/ddpm-cifar10-32, which diffusers 0.0.4 wrote.
Json cifar10_config() {
  return Json::parse(R"({
    "_class_name": "UNet2DModel", "_diffusers_version": "0.0.4", "act_fn": "silu",
    "attention_head_dim": null, "block_out_channels": [128, 256, 256, 256],
    "center_input_sample": false,
    "down_block_types": ["DownBlock2D", "AttnDownBlock2D", "DownBlock2D", "DownBlock2D"],
    "downsample_padding": 0, "flip_sin_to_cos": false, "freq_shift": 1, "in_channels": 3,
    "layers_per_block": 2, "mid_block_scale_factor": 1, "norm_eps": 1e-06,
    "norm_num_groups": 32, "out_channels": 3, "sample_size": 32,
    "time_embedding_type": "positional",
    "up_block_types": ["UpBlock2D", "UpBlock2D", "AttnUpBlock2D", "UpBlock2D"]})");
}

TEST(NetworkJsonTest, TheCifar10NetworkIsRead) {
  const ModelConfig model = read_network(cifar10_config());
  EXPECT_EQ(model.kind, ModelKind::kUNet2D);
  const UNet2DConfig& config = model.unet2d;
  EXPECT_EQ(config.sample_size, 32);
  EXPECT_EQ(config.attention_head_dim, 0);
  EXPECT_EQ(config.block_out_channels, (std::vector<int64_t>{128, 256, 256, 256}));
  EXPECT_EQ(config.down_block_types[1], DownBlockType::kAttnDown);
  EXPECT_EQ(config.up_block_types[2], UpBlockType::kAttnUp);
  EXPECT_EQ(config.downsample_padding, 0);
  EXPECT_FALSE(config.flip_sin_to_cos);
  EXPECT_EQ(config.freq_shift, 1);
  EXPECT_EQ(config.norm_eps, 1e-6);
  EXPECT_EQ(config.num_class_embeds, 0);
  EXPECT_EQ(config.class_embed_type, ClassEmbedType::kNone);
}

TEST(NetworkJsonTest, AbsentKeysHaveTheDefaultsOfDiffusers) {
  const UNet2DConfig config = read_network(Json::object()).unet2d;
  EXPECT_EQ(config.in_channels, 3);
  EXPECT_EQ(config.out_channels, 3);
  EXPECT_EQ(config.sample_size, 0);
  EXPECT_EQ(config.attention_head_dim, 8);
  EXPECT_EQ(config.block_out_channels, (std::vector<int64_t>{224, 448, 672, 896}));
}

TEST(NetworkJsonTest, WhatIsWrittenReadsTheSame) {
  ModelConfig model = read_network(cifar10_config());
  model.unet2d.class_embed_type = ClassEmbedType::kTimestep;
  model.unet2d.resnet_time_scale_shift = TimeScaleShift::kScaleShift;
  model.unet2d.attn_norm_num_groups = 8;
  model.unet2d.dropout = 0.1;
  EXPECT_EQ(config_to_json(read_network(network_to_json(model))), config_to_json(model));

  ModelConfig talk{.kind = ModelKind::kSimpleUnet, .unet2d = {}, .simple_unet = {}};
  talk.simple_unet.image_channels = 1;
  EXPECT_EQ(network_to_json(talk)["_class_name"], "SimpleUnet");
  EXPECT_EQ(config_to_json(read_network(network_to_json(talk))), config_to_json(talk));
}

TEST(NetworkJsonTest, EverySettingOfTheTalksNetworkReadsTheSame) {
  ModelConfig talk{.kind = ModelKind::kSimpleUnet, .unet2d = {}, .simple_unet = {}};
  talk.simple_unet = {.image_channels = 3,
                      .level_channels = {32, 64, 64},
                      .norm_num_groups = 8,
                      .dropout = 0.25,
                      .self_attention_levels = {1, 2},
                      .self_attention_dropout = 0.0,
                      .gate = GateKind::kSqueezeExcite,
                      .gate_places = {GatePlace::kSkip, GatePlace::kBottleneck},
                      .gate_levels = {1},
                      .gate_reduction = 4};
  const Json written = network_to_json(talk);
  EXPECT_EQ(written["gate"], "squeeze_excite");
  EXPECT_EQ(written["gate_places"], Json({"skip", "bottleneck"}));
  EXPECT_EQ(config_to_json(read_network(written)), config_to_json(talk));
  // A folder from before there were options holds the talk's first network.
  const ModelConfig old = read_network({{"_class_name", "SimpleUnet"}, {"image_channels", 3}});
  EXPECT_EQ(old.simple_unet.level_channels, (std::vector<int64_t>{64, 128, 256, 512, 1024}));
  EXPECT_EQ(old.simple_unet.gate, GateKind::kNone);
}

TEST(NetworkJsonTest, EverySettingOfAClassifierReadsTheSame) {
  ModelConfig model;
  model.kind = ModelKind::kClassifier;
  model.classifier = {.in_channels = 1,
                      .num_classes = 10,
                      .block_out_channels = {32, 64},
                      .layers_per_block = 1,
                      .attention = false,
                      .attention_head_dim = 16,
                      .norm_num_groups = 8,
                      .dropout = 0.25};
  const Json written = network_to_json(model);
  EXPECT_EQ(written["_class_name"], "DdpmClassifier");
  EXPECT_FALSE(is_diffusers_network(model));
  EXPECT_EQ(config_to_json(read_network(written)), config_to_json(model));
  model.classifier.num_classes = 0;
  EXPECT_THROW(network_to_json(model), std::invalid_argument);
}

// diffusers ignores keys that it doesn't know and would compute something else.
TEST(NetworkJsonTest, EachOptionThatDiffusersLacksTakesOurClassName) {
  const std::vector<std::pair<std::string, Json>> options{
      {"attention_num_heads", 4},  {"attention_last_up_only", true},
      {"conv_resample", false},    {"resample_projection", true},
      {"skip_scale", 0.5},         {"conv_in_channels", 64},
      {"time_embed_channels", 64}, {"timestep_scale", 0.25},
      {"augment_dim", 9}};
  for (const auto& [key, value] : options) {
    const ModelConfig model = read_network({{"_class_name", "UNet2D"}, {key, value}});
    EXPECT_FALSE(is_diffusers_network(model)) << key;
    const Json written = network_to_json(model);
    EXPECT_EQ(written["_class_name"], "UNet2D");
    EXPECT_EQ(written[key], value);
    EXPECT_EQ(config_to_json(read_network(written)), config_to_json(model)) << key;
    EXPECT_THAT(network_refusal({{"_class_name", "UNet2DModel"}, {key, value}}),
                AllOf(HasSubstr("[config.json] " + key), HasSubstr("UNet2DModel")));
  }
}

// UNet2DModel.from_pretrained looks at no class name, but at these.
TEST(NetworkJsonTest, OurBlockTypesCannotBeTakenForThoseOfDiffusers) {
  const ModelConfig model = read_network({{"_class_name", "UNet2D"}, {"timestep_scale", 0.25}});
  const Json written = network_to_json(model);
  EXPECT_EQ(written["down_block_types"][0], "ddpm.DownBlock2D");
  EXPECT_EQ(written["up_block_types"][3], "ddpm.UpBlock2D");
  EXPECT_THAT(network_refusal({{"_class_name", "UNet2D"}, {"up_block_types", {"UpBlock2D"}}}),
              AllOf(HasSubstr("up_block_types"), HasSubstr("got 'UpBlock2D'")));
  EXPECT_THAT(network_refusal({{"_class_name", "UNet2D"}, {"down_block_types", {3}}}),
              AllOf(HasSubstr("down_block_types"), HasSubstr("got '3'")));
}

TEST(NetworkJsonTest, HowTrainingStartedIsNotPartOfATrainedNetwork) {
  ModelConfig model = read_network(cifar10_config());
  model.unet2d.weight_init = WeightInit::kXavier;
  EXPECT_TRUE(is_diffusers_network(model));
  const Json written = network_to_json(model);
  EXPECT_EQ(written["_class_name"], "UNet2DModel");
  EXPECT_FALSE(written.contains("weight_init"));
  EXPECT_FALSE(written.contains("skip_scale"));
}

TEST(NetworkJsonTest, OlderWordsAreUnderstood) {
  const auto config =
      read_network({{"act_fn", "swish"},
                    {"sample_size", {16, 16}},
                    {"block_out_channels", {32, 64}},
                    {"time_embedding_dim", 128},
                    {"num_train_timesteps", 1000},
                    {"down_block_types", {"UNetResDownBlock2D", "UNetResAttnDownBlock2D"}},
                    {"up_block_types", {"UNetResAttnUpBlock2D", "UNetResUpBlock2D"}}})
          .unet2d;
  EXPECT_EQ(config.act_fn, "silu");
  EXPECT_EQ(config.sample_size, 16);
  EXPECT_EQ(config.down_block_types[1], DownBlockType::kAttnDown);
  EXPECT_EQ(config.up_block_types[0], UpBlockType::kAttnUp);
}

TEST(NetworkJsonTest, WhatIsNotSupportedIsNamedNeverIgnored) {
  const auto says = [](const char* key, const char* value) {
    return AllOf(HasSubstr("config.json"), HasSubstr(key), HasSubstr(value));
  };
  EXPECT_THAT(network_refusal({{"_class_name", "UNet2DConditionModel"}}),
              says("_class_name", "UNet2DConditionModel"));
  EXPECT_THAT(network_refusal({{"_class_name", 1}}), says("_class_name", "1"));
  EXPECT_THAT(network_refusal(Json::array()), says("object", "array"));
  EXPECT_THAT(network_refusal({{"layers_per_blocks", 2}}),
              says("layers_per_blocks", "layers_per_block"));
  EXPECT_THAT(network_refusal({{"time_embedding_type", "fourier"}}),
              says("time_embedding_type", "fourier"));
  EXPECT_THAT(network_refusal({{"time_embedding_dim", 7}}), says("time_embedding_dim", "7"));
  EXPECT_THAT(network_refusal({{"mid_block_type", nullptr}}), says("mid_block_type", "null"));
  EXPECT_THAT(network_refusal({{"act_fn", "gelu"}}), says("act_fn", "gelu"));
  EXPECT_THAT(network_refusal({{"sample_size", {16, 32}}}), says("sample_size", "[16,32]"));
  EXPECT_THAT(network_refusal({{"down_block_types", {"KDownBlock2D"}}}),
              says("down_block_types", "KDownBlock2D"));
  EXPECT_THAT(network_refusal({{"class_embed_type", "none"}}), says("class_embed_type", "none"));
  EXPECT_THAT(network_refusal({{"class_embed_type", "projection"}}),
              says("class_embed_type", "projection"));
  EXPECT_THAT(network_refusal({{"attention_head_dim", 0}}), says("attention_head_dim", "0"));
  EXPECT_THAT(network_refusal({{"norm_num_groups", nullptr}}), says("norm_num_groups", "nothing"));
  EXPECT_THAT(network_refusal({{"in_channels", 0}}), says("in_channels", "0"));
  EXPECT_THAT(network_refusal({{"layers_per_block", "2"}}), says("layers_per_block", "2"));
  EXPECT_THAT(network_refusal({{"_class_name", "SimpleUnet"}, {"channels", 1}}),
              says("channels", ""));
  EXPECT_THAT(network_refusal({{"_class_name", "SimpleUnet"}}), says("image_channels", "0"));
  EXPECT_THAT(network_refusal({{"_class_name", "SimpleUnet"}, {"gate", "senet"}}),
              says("gate", "senet"));
  EXPECT_THAT(network_refusal({{"_class_name", "SimpleUnet"}, {"gate_places", {"middle"}}}),
              says("gate_places", "middle"));
}

TEST(NetworkJsonTest, UnresolvedSizesAreNotWritten) {
  EXPECT_THAT(message_of<std::invalid_argument>([] { network_to_json(ModelConfig()); }),
              HasSubstr("in_channels"));
}

TEST(NetworkJsonTest, OldAttentionNamesBecomeTodays) {
  const Tensor one = at::ones({1});
  NamedTensors weights{{"mid_block.attentions.0.query.weight", one},
                       {"mid_block.attentions.0.key.bias", one},
                       {"up_blocks.1.attentions.2.value.weight", one},
                       {"up_blocks.1.attentions.2.proj_attn.bias", one},
                       {"up_blocks.1.attentions.2.group_norm.weight", one},
                       {"encoder.query.weight", one},
                       {"query", one}};
  rename_old_attention(weights, "x");
  EXPECT_EQ(weights[0].first, "mid_block.attentions.0.to_q.weight");
  EXPECT_EQ(weights[1].first, "mid_block.attentions.0.to_k.bias");
  EXPECT_EQ(weights[2].first, "up_blocks.1.attentions.2.to_v.weight");
  EXPECT_EQ(weights[3].first, "up_blocks.1.attentions.2.to_out.0.bias");
  EXPECT_EQ(weights[4].first, "up_blocks.1.attentions.2.group_norm.weight");
  EXPECT_EQ(weights[5].first, "encoder.query.weight");
  EXPECT_EQ(weights[6].first, "query");
  weights.emplace_back("mid_block.attentions.0.query.weight", one);
  EXPECT_THAT(message_of<std::invalid_argument>([&] { rename_old_attention(weights, "x"); }),
              HasSubstr("mid_block.attentions.0.to_q.weight"));
}

}  // namespace
}  // namespace ddpm
