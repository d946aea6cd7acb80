#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/util/StringUtil.h>
#include <gtest/gtest.h>

#include <map>
#include <memory>
#include <string>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/config/toml_config.h"
#include "ddpm/model/network.h"
#include "ddpm/model/state_dict.h"
#include "support/run_python.h"

namespace ddpm {
namespace {

const char* const kRecipes[] = {"cifar10_talk_simple_unet", "cifar10_talk_self_attention",
                                "cifar10_talk_cbam"};

/// Moves biases, norms and statistics away from zeros and ones, always to the same numbers.
void move_vectors(NetworkImpl& network) {
  const at::NoGradGuard no_grad;
  at::manual_seed(1);
  for (const auto& [name, tensor] : state_dict(network)) {
    if (tensor.dim() == 1) tensor.add_(0.5 * at::rand_like(tensor) - 0.2);
  }
}

/// The recipe's network, at half of its widths, with random weights.
std::shared_ptr<NetworkImpl> talk_network(const std::string& recipe_name, at::ScalarType dtype) {
  const RunConfig recipe = load_recipe(c10::str(DDPM_SOURCE_DIR "/recipes/", recipe_name, ".toml"),
                                       {"model.simple_unet.level_channels=[32,64,128,256,512]",
                                        "model.simple_unet.self_attention_dropout=0"});
  auto network = make_network(
      resolve_model_config(recipe.model, /*channels=*/3, /*image_size=*/32, /*num_classes=*/0));
  initialize(*network, /*seed=*/0);
  move_vectors(*network);
  network->to(dtype);
  return network;
}

double error_of(const Tensor& got, const Tensor& expected) {
  return ((got - expected).norm() / expected.norm()).item<double>();
}

// What float32's rounding does to a gradient where it moves a value over the kink of a ReLU, or
// makes another channel CBAM's largest: some do in any such network, others on another machine.
constexpr double kKinks = 0.05;

class TalkNetworksParityTest : public ::testing::TestWithParam<at::ScalarType> {};

TEST_P(TalkNetworksParityTest, OutputsAndAllGradientsEqualPyTorchModules) {
  at::manual_seed(0);
  const bool is_double = GetParam() == at::kDouble;
  const Tensor x = at::randn({2, 3, 32, 32}, at::kDouble).to(GetParam());
  const Tensor probe = at::randn(x.sizes(), at::kDouble).to(GetParam());
  const Tensor t = at::tensor({7, 250}, at::kLong);
  NamedTensors given{{"x", x}, {"t", t}, {"probe", probe}};
  std::map<std::string, Tensor> got;
  for (const std::string name : kRecipes) {
    for (const std::string mode : {"eval", "train"}) {
      const auto network = talk_network(name, GetParam());
      if (mode == "eval") {
        for (const auto& [key, tensor] : state_dict(*network)) {
          given.emplace_back(c10::str(name, "/", key), tensor.detach().clone().contiguous());
        }
      }
      network->train(mode == "train");
      const Tensor input = x.clone().requires_grad_();
      const Tensor y = network->forward(input, t, {});
      (y * probe).sum().backward();
      const std::string prefix = c10::str(name, "/", mode, "/");
      got[prefix + "y"] = y.detach();
      got[prefix + "grad_x"] = input.grad();
      for (const auto& parameter : network->named_parameters()) {
        got[c10::str(prefix, "grad/", parameter.key())] = parameter.value().grad();
      }
    }
  }
  const std::string folder = ::testing::TempDir();
  write_safetensors(folder + "/talk_in.safetensors", given);
  testing::run_python({DDPM_SOURCE_DIR "/tests/model/talk_networks_reference.py",
                       folder + "/talk_in.safetensors", folder + "/talk_out.safetensors"});
  const NamedTensors answers = read_safetensors(folder + "/talk_out.safetensors").tensors;
  ASSERT_EQ(answers.size(), got.size());
  for (const auto& [name, expected] : answers) {
    const double rounding = is_double ? 1e-10 : name.ends_with("/y") ? 1e-5 : kKinks;
    EXPECT_LE(error_of(got.at(name), expected), rounding) << name;
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, TalkNetworksParityTest,
                         ::testing::Values(at::kFloat, at::kDouble),
                         [](const auto& suite) { return std::string(c10::toString(suite.param)); });

}  // namespace
}  // namespace ddpm
