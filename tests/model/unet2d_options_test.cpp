#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <functional>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/config/toml_config.h"
#include "ddpm/model/state_dict.h"
#include "ddpm/model/timestep_embedding.h"
#include "ddpm/model/unet2d.h"
#include "model/small_unet.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::initialized;
using testing::small_unet_config;
using testing::tensors_near;

/// The options that diffusers' UNet2DModel lacks, each against a closed form.
class UNet2DOptionsTest : public ::testing::Test {
 protected:
  void SetUp() override {
    at::manual_seed(0);
    x_ = at::randn({2, 3, 8, 8});
    map_ = at::randn({2, 8, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast);
    time_ = at::randn({2, 8});
    config_ = small_unet_config();
  }

  Tensor answer(const ModelConfig& config, const Tensor& t) const {
    return initialized(config)->forward(x_, t, {});
  }

  static LevelOptions level_options(LevelResampling resampling) {
    return {.num_layers = 2,
            .attention = true,
            .resampling = resampling,
            .resnet = {.time_channels = 16, .norm_num_groups = 4},
            .attention_options = {.norm_num_groups = 4}};
  }

  /// A shortcut that passes the first of the channels on.
  static void pass_first_channels(torch::nn::Module& module) {
    for (const auto& parameter : module.named_parameters()) {
      if (parameter.key().find("conv_shortcut.weight") == std::string::npos) continue;
      const Tensor& weight = parameter.value();
      for (int64_t i = 0; i < std::min(weight.size(0), weight.size(1)); ++i) weight[i][i].fill_(1);
    }
  }

  static Tensor mean_of_four(const Tensor& x) {
    return at::stack(
               {x.slice(2, 0, {}, 2).slice(3, 0, {}, 2), x.slice(2, 1, {}, 2).slice(3, 0, {}, 2),
                x.slice(2, 0, {}, 2).slice(3, 1, {}, 2), x.slice(2, 1, {}, 2).slice(3, 1, {}, 2)})
        .mean(0);
  }

  at::NoGradGuard no_grad_;
  Tensor x_, map_, time_;
  ModelConfig config_;
};

TEST_F(UNet2DOptionsTest, ImprovedDiffusionsRecipeHasThePublishedNumberOfParameters) {
  const RunConfig recipe = load_recipe(DDPM_SOURCE_DIR "/recipes/cifar10_iddpm.toml");
  const ModelConfig config = resolve_run_config(recipe, 3, 32, 0).model;
  EXPECT_EQ(config.unet2d.out_channels, 6);
  EXPECT_EQ(count_parameters(*make_network(config)), 52'546'438);
}

TEST_F(UNet2DOptionsTest, HeadsByNumberAreHeadsOfTheirWidth) {
  config_.unet2d.attention_head_dim = 8;  // of 32 channels
  const Tensor t = at::tensor({3, 700}, at::kLong);
  const Tensor by_width = answer(config_, t);
  config_.unet2d.attention_num_heads = 4;
  config_.unet2d.attention_head_dim = 1;
  EXPECT_TRUE(at::equal(answer(config_, t), by_width));
  config_.unet2d.attention_num_heads = 2;
  EXPECT_FALSE(at::equal(answer(config_, t), by_width));
}

TEST_F(UNet2DOptionsTest, TimestepScaleMultipliesTimesteps) {
  const Tensor quarter = answer(config_, at::tensor({3, 700}, at::kLong));
  config_.unet2d.timestep_scale = 0.25;
  EXPECT_TRUE(at::equal(answer(config_, at::tensor({12, 2800}, at::kLong)), quarter));
}

TEST_F(UNet2DOptionsTest, WidthsOfTheFirstLayersAreTheirOwn) {
  config_.unet2d.conv_in_channels = 8;
  config_.unet2d.time_embed_channels = 24;
  const auto network = initialized(config_);
  const auto parameters = network->named_parameters();
  const auto shape = [&](const char* name) { return parameters[name].sizes().vec(); };
  using Shape = std::vector<int64_t>;
  EXPECT_EQ(shape("conv_in.weight"), (Shape{8, 3, 3, 3}));
  EXPECT_EQ(shape("time_embedding.linear_1.weight"), (Shape{96, 24}));
  EXPECT_EQ(shape("down_blocks.0.resnets.0.conv1.weight"), (Shape{16, 8, 3, 3}));
  EXPECT_EQ(shape("down_blocks.0.resnets.0.time_emb_proj.weight"), (Shape{16, 96}));
  EXPECT_EQ(shape("up_blocks.1.resnets.1.conv1.weight"), (Shape{16, 24, 3, 3}));
  EXPECT_EQ(network->forward(x_, at::tensor({3, 700}, at::kLong), {}).sizes(), x_.sizes());
}

// Labels whose embedding is the difference of two timesteps' waves turn one into the other.
TEST_F(UNet2DOptionsTest, AugmentLabelsAreAddedToTheWavesOfT) {
  config_.unet2d.augment_dim = 1;
  UNet2DImpl network(config_.unet2d);
  initialize(network, /*seed=*/1);
  network.eval();
  const Tensor t = at::tensor({3, 3}, at::kLong);
  const Tensor other = at::tensor({700, 700}, at::kLong);
  const Tensor waves = timestep_embedding(at::tensor({3, 700}, at::kLong), {.size = 16});
  network.named_parameters()["augment_embedding.weight"].copy_((waves[1] - waves[0]).unsqueeze(1));
  const Tensor plain = network.forward(x_, t, {});
  EXPECT_TRUE(at::equal(network.forward(x_, t, {.augment_labels = at::zeros({2, 1})}), plain));
  EXPECT_TRUE(tensors_near(network.forward(x_, t, {.augment_labels = at::ones({2, 1})}),
                           network.forward(x_, other, {}), 1e-5));
  EXPECT_THROW(network.forward(x_, t, {.augment_labels = at::ones({2, 2})}), std::invalid_argument);
  {
    const at::AutoGradMode with_grad(true);
    const Tensor labels = at::tensor({0.0F, 2.0F}).view({2, 1});
    network.forward(x_, t, {.augment_labels = labels}).square().sum().backward();
  }
  const Tensor weight = network.named_parameters()["augment_embedding.weight"];
  EXPECT_GT(weight.grad().abs().max().item<double>(), 0);
  UNet2DImpl without(small_unet_config().unet2d);
  EXPECT_THROW(without.forward(x_, t, {.augment_labels = at::ones({2, 1})}), std::invalid_argument);
}

// With weights of zero, res blocks and attentions only scale what they are given.
TEST_F(UNet2DOptionsTest, SkipScaleMultipliesEverySum) {
  config_.unet2d.skip_scale = 0.5;
  config_.unet2d.mid_block_scale_factor = 2;
  const auto network = make_network(config_);
  const Tensor h = at::randn({2, 32, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast);
  const Tensor rows = at::randn({2, 32});
  TimeRows time({rows, rows});
  std::vector<Tensor> skips;
  const auto modules = network->named_modules("", /*include_self=*/false);
  auto* mid = modules["mid_block"]->as<MidBlockImpl>();
  ASSERT_NE(mid, nullptr);
  EXPECT_TRUE(
      tensors_near(mid->forward(h, time, skips), h / 64, 1e-7));  // three sums, each x 0.5 / 2
  auto* down = modules["down_blocks.1.resnets.0"]->as<ResnetBlockImpl>();
  ASSERT_NE(down, nullptr);
  pass_first_channels(*down);
  EXPECT_TRUE(tensors_near(down->forward(h.narrow(1, 0, 16), rows).narrow(1, 0, 16),
                           0.5 * h.narrow(1, 0, 16), 1e-7));
}

TEST_F(UNet2DOptionsTest, ResampleProjectionStandsOnTheResampledShortcut) {
  const ResnetOptions options{
      .time_channels = 16, .norm_num_groups = 4, .resample_projection = true};
  ResnetBlockImpl down(8, 8, options, Resampling::kDown);
  pass_first_channels(down);
  down.named_parameters()["conv_shortcut.bias"].fill_(3);
  EXPECT_TRUE(tensors_near(down.forward(map_, time_), mean_of_four(map_) + 3, 1e-6));
  ResnetBlockImpl up(8, 8, options, Resampling::kUp);
  pass_first_channels(up);
  EXPECT_TRUE(tensors_near(mean_of_four(up.forward(map_, time_)), map_, 1e-6));
  EXPECT_FALSE(ResnetBlockImpl(8, 8, options).named_parameters().contains("conv_shortcut.weight"));
}

TEST_F(UNet2DOptionsTest, PlainResamplingIsTheMeanAndTheRepetition) {
  DownBlockImpl down(8, 8, level_options(LevelResampling::kPlain));
  std::vector<Tensor> skips;
  TimeRows time({time_, time_}), time_up({time_, time_});
  EXPECT_TRUE(tensors_near(down.forward(map_, time, skips), mean_of_four(map_), 1e-6));
  ASSERT_EQ(skips.size(), 3U);
  EXPECT_TRUE(tensors_near(skips.back(), mean_of_four(map_), 1e-6));

  UpBlockImpl up({.below = 8, .skip = 8, .out = 8}, level_options(LevelResampling::kPlain));
  pass_first_channels(up);
  const Tensor raised = up.forward(map_, time_up, skips = {map_, map_});
  EXPECT_EQ(raised.sizes(), (std::vector<int64_t>{2, 8, 8, 8}));
  EXPECT_TRUE(at::equal(raised, map_.repeat_interleave(2, 2).repeat_interleave(2, 3)));

  config_.unet2d.conv_resample = false;
  for (const auto& [name, tensor] : state_dict(*make_network(config_))) {
    EXPECT_EQ(name.find("samplers"), std::string::npos) << name;
  }
}

// Each attention adds its output's bias here, and nothing else.
TEST_F(UNet2DOptionsTest, AttentionMayStandAfterTheLastResBlockOfAnUpLevelOnly) {
  for (const bool last_only : {false, true}) {
    LevelOptions options = level_options(LevelResampling::kNone);
    options.attention_last_up_only = last_only;
    UpBlockImpl up({.below = 8, .skip = 8, .out = 8}, options);
    pass_first_channels(up);
    for (const auto& parameter : up.named_parameters()) {
      if (parameter.key().find("to_out.0.bias") != std::string::npos) parameter.value().fill_(1);
    }
    std::vector<Tensor> skips{map_, map_};
    TimeRows time({time_, time_});
    EXPECT_TRUE(tensors_near(up.forward(map_, time, skips), map_ + (last_only ? 1 : 2), 1e-6));
  }
}

TEST_F(UNet2DOptionsTest, ZeroResidualStartsWithTheAnswerZero) {
  config_.unet2d.weight_init = WeightInit::kZeroResidual;
  EXPECT_EQ(answer(config_, at::tensor({3, 700}, at::kLong)).abs().max().item<double>(), 0.0);
  for (const auto& [name, tensor] : state_dict(*initialized(config_))) {
    const bool ends = name.find("conv2.") != std::string::npos || name.starts_with("conv_out.") ||
                      name.find("to_out.") != std::string::npos;
    const bool norm_bias = name.find("norm") != std::string::npos && name.ends_with("bias");
    EXPECT_EQ(tensor.abs().max().item<double>() == 0.0, ends || norm_bias) << name;
  }
}

// Uniform within gain * sqrt(6 / (fan_in + fan_out)), biases 0.
TEST_F(UNet2DOptionsTest, XavierCountsBothFans) {
  config_.unet2d.weight_init = WeightInit::kXavier;
  const auto parameters = initialized(config_)->named_parameters();
  const auto expect_bound = [&](const std::string& name, double bound) {
    const double largest = parameters[name + ".weight"].abs().max().item<double>();
    EXPECT_LE(largest, bound * (1 + 1e-6)) << name;
    EXPECT_GT(largest, 0.98 * bound) << name;
    EXPECT_EQ(parameters[name + ".bias"].abs().max().item<double>(), 0.0) << name;
  };
  expect_bound("conv_in", std::sqrt(6.0 / ((3 + 16) * 9)));
  expect_bound("time_embedding.linear_1", std::sqrt(6.0 / (16 + 64)));
  expect_bound("down_blocks.1.resnets.0.conv1", std::sqrt(6.0 / ((16 + 32) * 9)));
  expect_bound("down_blocks.1.resnets.0.conv2", 1e-5 * std::sqrt(6.0 / ((32 + 32) * 9)));
  // One layer from 32 to 3 x 32 would have the bound sqrt(0.2) sqrt(6 / (32 + 96)).
  expect_bound("mid_block.attentions.0.to_k", std::sqrt(0.2) * std::sqrt(6.0 / (32 + 96)));
  expect_bound("mid_block.attentions.0.to_out.0", 1e-5 * std::sqrt(6.0 / (32 + 32)));
}

TEST_F(UNet2DOptionsTest, NamesTheOptionThatIsWrong) {
  const std::vector<std::pair<std::function<void(UNet2DConfig&)>, const char*>> cases{
      {[](UNet2DConfig& c) { c.attention_num_heads = 5; }, "unet2d.attention_num_heads"},
      {[](UNet2DConfig& c) { c.attention_num_heads = -1; }, "unet2d.attention_num_heads"},
      {[](UNet2DConfig& c) { c.skip_scale = 0; }, "unet2d.skip_scale"},
      {[](UNet2DConfig& c) { c.conv_in_channels = 6; }, "unet2d.conv_in_channels"},
      {[](UNet2DConfig& c) { c.conv_in_channels = -4; }, "unet2d.conv_in_channels"},
      {[](UNet2DConfig& c) { c.time_embed_channels = 1; }, "unet2d.time_embed_channels"},
      {[](UNet2DConfig& c) { c.augment_dim = -1; }, "unet2d.augment_dim"},
  };
  for (const auto& [spoil, field] : cases) {
    ModelConfig config = small_unet_config();
    spoil(config.unet2d);
    try {
      make_network(config);
      ADD_FAILURE() << field << " was taken";
    } catch (const std::invalid_argument& error) {
      EXPECT_THAT(error.what(), HasSubstr(field));
    }
  }
}

}  // namespace
}  // namespace ddpm
