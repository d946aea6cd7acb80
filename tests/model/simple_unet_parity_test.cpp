#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/model/network.h"
#include "ddpm/model/state_dict.h"
#include "model/random_weights.h"
#include "model/simple_networks.h"
#include "support/run_python.h"

namespace ddpm {
namespace {

/// Settings that between them have every gate at every place, and attention at every level.
std::map<std::string, SimpleUnetConfig> placements() {
  SimpleUnetConfig base;
  base.image_channels = 3;
  base.level_channels = {8, 16, 24, 32};
  base.norm_num_groups = 4;
  std::map<std::string, SimpleUnetConfig> configs;
  SimpleUnetConfig& listening = configs["attention_gate"] = base;
  listening.gate = GateKind::kAttentionGate;
  listening.gate_places = {GatePlace::kSkip};
  listening.self_attention_levels = {0, 2};
  SimpleUnetConfig& cbam = configs["cbam"] = base;
  cbam.gate = GateKind::kCbam;
  cbam.gate_places = {GatePlace::kBlockEnd, GatePlace::kBottleneck};
  cbam.gate_reduction = 8;
  cbam.self_attention_levels = {1, 3};
  SimpleUnetConfig& squeezing = configs["squeeze_excite"] = base;
  squeezing.gate = GateKind::kSqueezeExcite;
  squeezing.gate_places = {GatePlace::kSkip, GatePlace::kBlockEnd};
  squeezing.gate_levels = {0, 2};
  squeezing.gate_reduction = 8;
  return configs;
}

std::shared_ptr<NetworkImpl> random_network(const SimpleUnetConfig& config) {
  const auto network = testing::simple_network(config);
  testing::randomize(*network);
  return network;
}

TEST(SimpleUnetParityTest, PlacementsEqualAFewLinesOfPyTorch) {
  at::manual_seed(0);
  const Tensor x = at::randn({2, 3, 16, 24}, at::kDouble);
  const Tensor probe = at::randn(x.sizes(), at::kDouble);
  const Tensor t = at::tensor({3, 700}, at::kLong);
  NamedTensors given{{"x", x}, {"t", t}, {"probe", probe}};
  std::map<std::string, Tensor> got;
  for (const auto& [name, config] : placements()) {
    const auto network = random_network(config);
    for (const auto& [key, tensor] : state_dict(*network)) {
      given.emplace_back(name + "/" + key, tensor.detach().contiguous());
    }
    const Tensor input = x.clone().requires_grad_();
    const Tensor y = network->forward(input, t, {});
    (y * probe).sum().backward();
    got[name + "/y"] = y.detach();
    got[name + "/grad_x"] = input.grad();
  }
  const std::string folder = ::testing::TempDir();
  write_safetensors(folder + "/simple_unet_in.safetensors", given);
  testing::run_python({DDPM_SOURCE_DIR "/tests/model/simple_unet_reference.py",
                       folder + "/simple_unet_in.safetensors",
                       folder + "/simple_unet_out.safetensors"});
  const NamedTensors answers = read_safetensors(folder + "/simple_unet_out.safetensors").tensors;
  ASSERT_EQ(answers.size(), got.size());
  for (const auto& [name, expected] : answers) {
    EXPECT_LE(((got.at(name) - expected).norm() / expected.norm()).item<double>(), 1e-10) << name;
  }
}

}  // namespace
}  // namespace ddpm
