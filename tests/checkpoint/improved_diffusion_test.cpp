#include "ddpm/checkpoint/improved_diffusion.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "checkpoint/safetensors_bytes.h"
#include "ddpm/checkpoint/network_json.h"

namespace ddpm {
namespace {

using ::testing::AllOf;
using ::testing::HasSubstr;
using testing::message_of;

constexpr int64_t kWidth = 32;
constexpr int64_t kTime = 128;

/// A state dict of two levels of 32 channels, one res block each, attention in the lower one.
class ImprovedDiffusionTest : public ::testing::Test {
 protected:
  void SetUp() override {
    add_layer("time_embed.0", {kTime, kWidth});
    add_layer("time_embed.2", {kTime, kTime});
    add_layer("input_blocks.0.0", {kWidth, 3, 3, 3});
    add_res_block("input_blocks.1.0", kWidth);
    add_layer("input_blocks.2.0.op", {kWidth, kWidth, 3, 3});
    add_res_block("input_blocks.3.0", kWidth);
    add_attention("input_blocks.3.1");
    add_res_block("middle_block.0", kWidth);
    add_attention("middle_block.1");
    add_res_block("middle_block.2", kWidth);
    for (const int64_t i : {0, 1, 2, 3}) {
      const std::string block = c10::str("output_blocks.", i);
      add_res_block(block + ".0", 2 * kWidth);
      if (i < 2) add_attention(block + ".1");
    }
    add_layer("output_blocks.1.2.conv", {kWidth, kWidth, 3, 3});
    add_layer("out.0", {kWidth});
    add_layer("out.2", {6, kWidth, 3, 3});
  }

  void add_layer(const std::string& name, const std::vector<int64_t>& shape) {
    tensors_[name + ".weight"] = at::zeros(shape);
    tensors_[name + ".bias"] = at::zeros({shape.front()});
  }
  void add_res_block(const std::string& name, int64_t in) {
    add_layer(name + ".in_layers.0", {in});
    add_layer(name + ".in_layers.2", {kWidth, in, 3, 3});
    add_layer(name + ".emb_layers.1", {2 * kWidth, kTime});
    add_layer(name + ".out_layers.0", {kWidth});
    add_layer(name + ".out_layers.3", {kWidth, kWidth, 3, 3});
    if (in != kWidth) add_layer(name + ".skip_connection", {kWidth, in, 1, 1});
  }
  void add_attention(const std::string& name) {
    add_layer(name + ".norm", {kWidth});
    add_layer(name + ".qkv", {3 * kWidth, kWidth, 1});
    add_layer(name + ".proj_out", {kWidth, kWidth, 1});
  }

  ImprovedDiffusionImport import(const ImprovedDiffusionOptions& options) const {
    return import_improved_diffusion({tensors_.begin(), tensors_.end()}, options, "model.pt");
  }
  std::string refusal(const ImprovedDiffusionOptions& options = {.num_heads = 2}) const {
    return message_of<std::invalid_argument>([&] { import(options); });
  }

  std::map<std::string, Tensor> tensors_;
};

TEST_F(ImprovedDiffusionTest, NamesAndShapesTellTheNetwork) {
  tensors_["label_emb.weight"] = at::zeros({10, kTime});
  const UNet2DConfig config = import({.num_heads = 2}).config;
  EXPECT_EQ(config.in_channels, 3);
  EXPECT_EQ(config.out_channels, 6);
  EXPECT_EQ(config.block_out_channels, (std::vector<int64_t>{32, 32}));
  EXPECT_EQ(config.layers_per_block, 1);
  EXPECT_EQ(config.down_block_types, (std::vector{DownBlockType::kDown, DownBlockType::kAttnDown}));
  EXPECT_EQ(config.up_block_types, (std::vector{UpBlockType::kAttnUp, UpBlockType::kUp}));
  EXPECT_EQ(config.resnet_time_scale_shift, TimeScaleShift::kScaleShift);
  EXPECT_EQ(config.num_class_embeds, 10);
  EXPECT_EQ(config.attention_head_dim, 16);
  EXPECT_EQ(config.norm_eps, 1e-5);
  EXPECT_EQ(config.downsample_padding, 1);
  EXPECT_TRUE(config.flip_sin_to_cos);
  EXPECT_EQ(config.freq_shift, 0);
}

// Heads of one width are all that UNet2DModel has; with t as it is, diffusers can load the network.
TEST_F(ImprovedDiffusionTest, IsDiffusersNetworkWhereDiffusersHasItsOptions) {
  ModelConfig model;
  model.unet2d = import({.num_heads = 2}).config;
  EXPECT_TRUE(is_diffusers_network(model));
  model.unet2d = import({.num_heads = 2, .timestep_scale = 0.25}).config;
  EXPECT_FALSE(is_diffusers_network(model));
}

TEST_F(ImprovedDiffusionTest, RowsOfTheJointLayerGoToTheirHeads) {
  const Tensor rows = at::arange(3 * kWidth).to(at::kFloat);
  tensors_["middle_block.1.qkv.bias"] = rows;
  tensors_["middle_block.1.qkv.weight"] = rows.view({-1, 1, 1}).expand({-1, kWidth, 1});
  for (const bool new_order : {false, true}) {
    const NamedTensors weights = import({.num_heads = 2, .new_attention_order = new_order}).weights;
    std::map<std::string, Tensor> by_name(weights.begin(), weights.end());
    const std::string prefix = "mid_block.attentions.0.";
    int64_t part = 0;
    for (const char* name : {"to_q", "to_k", "to_v"}) {
      const Tensor bias = by_name.at(prefix + name + ".bias");
      const Tensor weight = by_name.at(prefix + name + ".weight");
      ASSERT_EQ(bias.sizes(), (std::vector<int64_t>{kWidth}));
      ASSERT_EQ(weight.sizes(), (std::vector<int64_t>{kWidth, kWidth}));
      for (int64_t i = 0; i < kWidth; ++i) {
        const int64_t head = i / 16;  // two heads of 16: q0 k0 v0 q1 k1 v1, or q0 q1 k0 k1 v0 v1
        const int64_t row = new_order ? 32 * part + i : 48 * head + 16 * part + i % 16;
        EXPECT_EQ(bias[i].item<float>(), static_cast<float>(row)) << name << i;
        EXPECT_EQ(weight[i][5].item<float>(), static_cast<float>(row)) << name << i;
      }
      ++part;
    }
  }
}

TEST_F(ImprovedDiffusionTest, EveryTensorIsHandedOverOnce) {
  const NamedTensors weights = import({.num_heads = 2}).weights;
  int64_t given = 0;
  int64_t got = 0;
  for (const auto& [name, tensor] : tensors_) given += tensor.numel();
  std::map<std::string, Tensor> by_name;
  for (const auto& [name, tensor] : weights) {
    EXPECT_TRUE(by_name.emplace(name, tensor).second) << name;
    got += tensor.numel();
  }
  EXPECT_EQ(got, given);
}

TEST_F(ImprovedDiffusionTest, NamesWhatIsMissing) {
  const auto whole = tensors_;
  for (const char* name :
       {"time_embed.2.bias", "input_blocks.1.0.in_layers.2.weight", "input_blocks.2.0.op.weight",
        "middle_block.1.qkv.bias", "output_blocks.1.2.conv.bias", "out.2.weight"}) {
    tensors_ = whole;
    tensors_.erase(name);
    EXPECT_THAT(refusal(), AllOf(HasSubstr("[model.pt]"), HasSubstr(name), HasSubstr("missing")));
  }
  tensors_.clear();
  EXPECT_THAT(refusal(), HasSubstr("input_blocks.0.0.weight"));
}

TEST_F(ImprovedDiffusionTest, NamesWhatIsUnknownOrThereTwice) {
  tensors_["ema.decay"] = at::zeros({1});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("unknown"), HasSubstr("ema.decay")));
  tensors_.erase("ema.decay");
  add_attention("input_blocks.1.1");  // attention on the way down alone
  EXPECT_THAT(refusal(), HasSubstr("output_blocks.2.1.norm.weight"));
  const NamedTensors twice{{"out.0.bias", at::zeros({1})}, {"out.0.bias", at::zeros({1})}};
  EXPECT_THAT(message_of<std::invalid_argument>(
                  [&] { import_improved_diffusion(twice, {.num_heads = 1}, "model.pt"); }),
              AllOf(HasSubstr("twice"), HasSubstr("out.0.bias")));
}

TEST_F(ImprovedDiffusionTest, NamesShapesThatDoNotFit) {
  const auto whole = tensors_;
  tensors_["middle_block.1.qkv.weight"] = at::zeros({3 * kWidth, kWidth});
  EXPECT_THAT(refusal(), AllOf(HasSubstr("middle_block.1.qkv.weight"), HasSubstr("[96, 32, 1]"),
                               HasSubstr("got [96, 32]")));
  tensors_ = whole;
  tensors_["middle_block.1.proj_out.weight"] = at::zeros({kWidth, kWidth});
  EXPECT_THAT(refusal(), HasSubstr("middle_block.1.proj_out.weight"));
  tensors_ = whole;
  tensors_["input_blocks.0.0.weight"] = at::zeros({kWidth});
  EXPECT_THAT(refusal(), HasSubstr("input_blocks.0.0.weight"));
  tensors_ = whole;
  add_res_block("output_blocks.4.0", 2 * kWidth);
  EXPECT_THAT(refusal(), AllOf(HasSubstr("output_blocks"), HasSubstr("got 5")));
}

TEST_F(ImprovedDiffusionTest, HeadsAreGivenInOneWayAndDivideTheChannels) {
  EXPECT_THAT(refusal({}), HasSubstr("expected either num_heads or head_channels, got 0 and 0"));
  EXPECT_THAT(refusal({.num_heads = 2, .head_channels = 16}), HasSubstr("got 2 and 16"));
  EXPECT_THAT(refusal({.num_heads = 5}), HasSubstr("num_heads: expected a divisor of 32, got 5"));
  EXPECT_THAT(refusal({.head_channels = 64}), HasSubstr("head_channels: expected a divisor of 32"));
  EXPECT_EQ(import({.head_channels = 8}).config.attention_head_dim, 8);
}

TEST_F(ImprovedDiffusionTest, IsKnownByItsNames) {
  EXPECT_TRUE(is_improved_diffusion({tensors_.begin(), tensors_.end()}));
  EXPECT_FALSE(is_improved_diffusion({{"conv_in.weight", at::zeros({1})}}));
}

}  // namespace
}  // namespace ddpm
