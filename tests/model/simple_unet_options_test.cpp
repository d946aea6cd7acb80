#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <functional>
#include <map>
#include <memory>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/model/simple_unet.h"
#include "ddpm/model/simple_unet_placement.h"
#include "ddpm/model/state_dict.h"
#include "model/simple_networks.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::simple_network;
using testing::tensors_near;

/// Three levels in 60 thousand weights.
SimpleUnetConfig small_simple_unet() {
  SimpleUnetConfig config;
  config.image_channels = 3;
  config.level_channels = {8, 16, 32};
  config.norm_num_groups = 4;
  return config;
}

SimpleUnetConfig gated(GateKind gate, std::vector<GatePlace> places,
                       std::vector<int64_t> levels = {}) {
  SimpleUnetConfig config = small_simple_unet();
  config.gate = gate;
  config.gate_places = std::move(places);
  config.gate_levels = std::move(levels);
  config.gate_reduction = 4;
  return config;
}

/// One setting of each kind, at every place it can have.
std::map<std::string, SimpleUnetConfig> every_placement() {
  std::map<std::string, SimpleUnetConfig> configs;
  for (const GateKind gate : {GateKind::kCbam, GateKind::kSqueezeExcite}) {
    for (const GatePlace place : {GatePlace::kBlockEnd, GatePlace::kSkip, GatePlace::kBottleneck}) {
      configs[std::string(enum_word(gate)) + " " + enum_word(place)] = gated(gate, {place});
    }
    configs[std::string(enum_word(gate)) + " level 1"] =
        gated(gate, {GatePlace::kBlockEnd, GatePlace::kSkip}, {1});
  }
  configs["attention_gate skip"] = gated(GateKind::kAttentionGate, {GatePlace::kSkip});
  SimpleUnetConfig attends = small_simple_unet();
  attends.self_attention_levels = {0, 1, 2};
  configs["self-attention"] = attends;
  attends = gated(GateKind::kCbam, {GatePlace::kBlockEnd, GatePlace::kBottleneck});
  attends.self_attention_levels = {2};
  attends.dropout = 0.25;
  attends.norm_num_groups = 0;
  configs["all, with batch norm"] = attends;
  return configs;
}

Tensor images(int64_t side, at::ScalarType dtype = at::kFloat) {
  at::manual_seed(0);
  return at::randn({2, 3, side, side}).to(dtype);
}

Tensor timesteps() { return at::tensor({3, 700}, at::kLong); }

TEST(SimpleUnetOptionsTest, EveryPlacementRunsAndReachesEveryWeight) {
  for (const auto& [name, config] : every_placement()) {
    for (const int64_t side : {8, 20}) {
      const auto network = simple_network(config);
      const Tensor y = network->forward(images(side), timesteps(), {});
      EXPECT_EQ(y.sizes(), images(side).sizes()) << name;
      EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast)) << name;
      y.square().sum().backward();
      for (const auto& parameter : network->named_parameters()) {
        const Tensor& grad = parameter.value().grad();
        ASSERT_TRUE(grad.defined()) << name << ": " << parameter.key();
        EXPECT_TRUE(at::isfinite(grad).all().item<bool>()) << name << ": " << parameter.key();
      }
    }
  }
}

// Weights of 1 everywhere, or a branch that adds nothing, leave the network without them. So each
// gate stands between the same modules, and touches nothing else.
TEST(SimpleUnetOptionsTest, OpenGatesAndSilentAttentionChangeNothing) {
  const at::NoGradGuard no_grad;
  const auto plain = simple_network(small_simple_unet());
  plain->eval();
  const NamedTensors plain_weights = state_dict(*plain);
  const Tensor expected = plain->forward(images(8), timesteps(), {});
  const std::vector<std::string> last_layers{"channel_attn.3", "spatial_attn.0", "fc2", "psi",
                                             "out_proj",       "ffn.2"};
  for (const auto& [name, config] : every_placement()) {
    if (config.norm_num_groups == 0) continue;
    const auto network = simple_network(config);
    network->eval();
    NamedTensors weights = state_dict(*network);
    const std::map<std::string, Tensor> shared(plain_weights.begin(), plain_weights.end());
    size_t found = 0;
    for (const auto& [key, tensor] : weights) {
      if (const auto it = shared.find(key); it != shared.end()) {
        tensor.copy_(it->second);
        ++found;
      }
      for (const std::string& layer : last_layers) {
        const bool is_gate = layer != "out_proj" && layer != "ffn.2";
        if (key.ends_with(layer + ".weight")) tensor.zero_();
        if (key.ends_with(layer + ".bias")) tensor.fill_(is_gate ? 100.0 : 0.0);
      }
    }
    EXPECT_EQ(found, shared.size()) << name;
    EXPECT_GT(weights.size(), shared.size()) << name;
    EXPECT_TRUE(tensors_near(network->forward(images(8), timesteps(), {}), expected, 1e-5)) << name;
  }
}

std::vector<std::string> gate_modules(const SimpleUnetConfig& config, const std::string& suffix) {
  std::vector<std::string> names;
  for (const auto& [name, tensor] : state_dict(*simple_network(config))) {
    if (name.ends_with(suffix)) names.push_back(name.substr(0, name.size() - suffix.size()));
  }
  return names;
}

TEST(SimpleUnetOptionsTest, GatesStandWhereTheyWerePlaced) {
  using Names = std::vector<std::string>;
  const auto kind = GateKind::kSqueezeExcite;
  const std::string layer = ".fc1.weight";
  EXPECT_EQ(gate_modules(gated(kind, {GatePlace::kBlockEnd}), layer),
            (Names{"down_blocks.0.squeeze_excite", "down_blocks.1.squeeze_excite",
                   "up_blocks.0.squeeze_excite", "up_blocks.1.squeeze_excite"}));
  // Down block 1 and up block 1 convolve maps of level 1.
  EXPECT_EQ(gate_modules(gated(kind, {GatePlace::kBlockEnd, GatePlace::kSkip}, {1}), layer),
            (Names{"down_blocks.1.squeeze_excite", "up_blocks.1.squeeze_excite", "skip_gates.1"}));
  EXPECT_EQ(gate_modules(gated(kind, {GatePlace::kBlockEnd}, {0, 2}), layer),
            (Names{"down_blocks.0.squeeze_excite", "up_blocks.0.squeeze_excite"}));
  EXPECT_EQ(gate_modules(gated(kind, {GatePlace::kSkip, GatePlace::kBottleneck}), layer),
            (Names{"skip_gates.1", "skip_gates.2", "bottleneck_gate"}));
  EXPECT_EQ(gate_modules(gated(GateKind::kAttentionGate, {GatePlace::kSkip}), ".psi.weight"),
            (Names{"skip_gates.1"}));
  SimpleUnetConfig attends = small_simple_unet();
  attends.self_attention_levels = {2, 0};
  EXPECT_EQ(gate_modules(attends, ".attn.in_proj_weight"),
            (Names{"down_self_attention.0", "up_self_attention.0", "self_attention"}));
}

TEST(SimpleUnetOptionsTest, AnAttentionGateListensToTheLevelBelow) {
  const auto network = simple_network(gated(GateKind::kAttentionGate, {GatePlace::kSkip}));
  const auto weights = network->named_parameters();
  EXPECT_EQ(weights["skip_gates.1.w_x.weight"].sizes(), at::IntArrayRef({4, 16, 2, 2}));
  EXPECT_EQ(weights["skip_gates.1.w_g.weight"].sizes(), at::IntArrayRef({4, 16, 1, 1}));
  // With the skip's own part silent, the gate still answers to the image.
  const at::NoGradGuard no_grad;
  weights["skip_gates.1.w_x.weight"].zero_();
  network->eval();
  const Tensor y = network->forward(images(8), timesteps(), {});
  weights["skip_gates.1.w_g.weight"].mul_(-3);
  EXPECT_FALSE(tensors_near(network->forward(images(8), timesteps(), {}), y, 1e-4));
}

// Batch norm mixes the images of a batch, and with them their noise levels.
TEST(SimpleUnetOptionsTest, GroupNormSeesOneImageAtATimeAndBatchNormDoesNot) {
  const at::NoGradGuard no_grad;
  SimpleUnetConfig config = small_simple_unet();
  const auto change = [&] {
    const auto network = simple_network(config);
    const Tensor x = images(8);
    const Tensor first = network->forward(x, timesteps(), {})[0];
    x[1].mul_(3);
    return (network->forward(x, timesteps(), {})[0] - first).abs().max().item<double>();
  };
  EXPECT_LT(change(), 1e-5);
  config.norm_num_groups = 0;
  EXPECT_GT(change(), 1e-2);
}

TEST(SimpleUnetOptionsTest, DropoutActsInTrainingOnly) {
  const at::NoGradGuard no_grad;
  SimpleUnetConfig config = small_simple_unet();
  config.dropout = 0.5;
  const auto network = simple_network(config);
  const auto differs = [&] {
    const Tensor first = network->forward(images(8), timesteps(), {});
    return !at::equal(network->forward(images(8), timesteps(), {}), first);
  };
  EXPECT_FALSE(differs());  // images() seeds the generator, so both draw the same mask
  const Tensor trained = network->forward(images(8), timesteps(), {});
  network->eval();
  EXPECT_FALSE(tensors_near(network->forward(images(8), timesteps(), {}), trained, 1e-3));
  config.dropout = 0.0;
  const auto without = simple_network(config);
  EXPECT_TRUE(tensors_near(without->forward(images(8), timesteps(), {}),
                           network->forward(images(8), timesteps(), {}), 1e-6));
}

TEST(SimpleUnetOptionsTest, AnswersInBfloat16AreThoseOfFloat32Rounded) {
  const at::NoGradGuard no_grad;
  for (const auto& [name, config] : every_placement()) {
    const auto network = simple_network(config);
    network->eval();
    const Tensor expected = network->forward(images(8), timesteps(), {});
    network->to(at::kBFloat16);
    const Tensor y = network->forward(images(8, at::kBFloat16), timesteps(), {});
    EXPECT_EQ(y.scalar_type(), at::kBFloat16) << name;
    const double error = ((y.to(at::kFloat) - expected).norm() / expected.norm()).item<double>();
    EXPECT_LT(error, 0.03) << name;
  }
}

// PyTorch's MultiheadAttention: Glorot for the joint projection, no biases.
TEST(SimpleUnetOptionsTest, SelfAttentionStartsAsInPyTorch) {
  SimpleUnetConfig config = small_simple_unet();
  config.self_attention_levels = {2};
  const auto weights = simple_network(config)->named_parameters();
  const auto largest = [&](const char* name) {
    return weights[std::string("self_attention.") + name].abs().max().item<double>();
  };
  EXPECT_NEAR(largest("attn.in_proj_weight"), std::sqrt(6.0 / (4 * 32)), 1e-3);
  EXPECT_EQ(largest("attn.in_proj_bias"), 0.0);
  EXPECT_NEAR(largest("attn.out_proj.weight"), 1 / std::sqrt(32.0), 1e-3);
  EXPECT_EQ(largest("attn.out_proj.bias"), 0.0);
  EXPECT_GT(largest("ffn.0.bias"), 0.0);
  EXPECT_EQ(largest("norm2.weight"), 1.0);
}

TEST(SimpleUnetOptionsTest, WhatMakesNoSenseIsRefusedByName) {
  struct Case {
    std::function<void(SimpleUnetConfig&)> spoil;
    std::vector<const char*> says;
  };
  const auto block_end = std::vector{GatePlace::kBlockEnd};
  const Case cases[] = {
      {[](auto& c) { c.level_channels = {8}; }, {"simple_unet.level_channels", "2 to 17", "1"}},
      {[](auto& c) {
         c.level_channels = {8, 0};
       },
       {"simple_unet.level_channels", "0"}},
      {[](auto& c) { c.norm_num_groups = 3; }, {"simple_unet.norm_num_groups", "of 3, got 8"}},
      {[](auto& c) { c.norm_num_groups = -1; }, {"simple_unet.norm_num_groups", "-1"}},
      {[](auto& c) { c.dropout = 1.5; }, {"simple_unet.dropout", "1.5"}},
      {[](auto& c) { c.self_attention_dropout = -1; }, {"simple_unet.self_attention_dropout"}},
      {[](auto& c) { c.self_attention_levels = {3}; }, {"self_attention_levels", "0 to 2, got 3"}},
      {[](auto& c) {
         c.self_attention_levels = {1, 1};
       },
       {"self_attention_levels", "once"}},
      {[](auto& c) { c.gate = GateKind::kCbam; }, {"simple_unet.gate ", "gate_places"}},
      {[&](auto& c) { c.gate_places = block_end; }, {"simple_unet.gate_places", "got none"}},
      {[](auto& c) { c.gate_levels = {1}; }, {"simple_unet.gate_levels", "got none"}},
      {[](auto& c) { c.gate_reduction = 4; }, {"gate_reduction", "got none"}},
      {[&](auto& c) { c = gated(GateKind::kAttentionGate, block_end); },
       {"attention_gate", "[skip], got block_end"}},
      {[](auto& c) { c = gated(GateKind::kAttentionGate, {GatePlace::kSkip}, {2}); },
       {"gate_places skip", "no gate"}},
      {[](auto& c) {
         c = gated(GateKind::kAttentionGate, {GatePlace::kSkip});
         c.level_channels = {8, 16};
       },
       {"gate_places skip", "no gate"}},
      {[](auto& c) {
         c = gated(GateKind::kCbam, {GatePlace::kSkip}, {0, 1});
       },
       {"gate_levels 0", "skip 1 to 2"}},
      {[&](auto& c) { c = gated(GateKind::kCbam, block_end, {3}); },
       {"gate_levels", "0 to 2, got 3"}},
      {[&](auto& c) {
         c = gated(GateKind::kCbam, block_end, {1, 1});
       },
       {"gate_levels", "once"}},
      {[](auto& c) { c = gated(GateKind::kCbam, {GatePlace::kBottleneck}, {2}); },
       {"gate_levels", "bottleneck"}},
      {[](auto& c) {
         c = gated(GateKind::kCbam, {GatePlace::kSkip, GatePlace::kSkip});
       },
       {"gate_places", "once"}},
      {[&](auto& c) {
         c = gated(GateKind::kCbam, block_end);
         c.gate_reduction = 5;
       },
       {"gate_reduction", "divisor of 16, got 5"}},
      {[&](auto& c) {
         c = gated(GateKind::kCbam, block_end);
         c.gate_reduction = 0;
       },
       {"gate_reduction", "divisor of 8, got 16"}},
  };
  for (const Case& c : cases) {
    SimpleUnetConfig config = small_simple_unet();
    c.spoil(config);
    std::string message = "no std::invalid_argument";
    try {
      simple_network(config);
    } catch (const std::invalid_argument& error) {
      message = error.what();
    }
    for (const char* part : c.says) EXPECT_THAT(message, HasSubstr(part));
  }
}

TEST(SimpleUnetOptionsTest, FewerLevelsTakeSmallerImages) {
  ModelConfig model;
  model.kind = ModelKind::kSimpleUnet;
  model.simple_unet.level_channels = {8, 16, 32};
  EXPECT_EQ(size_factor(model.simple_unet), 4);
  EXPECT_EQ(resolve_model_config(model, 1, 28, 0).simple_unet.image_channels, 1);
  EXPECT_THROW(resolve_model_config(model, 1, 30, 0), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
