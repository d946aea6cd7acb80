#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/config/toml_config.h"
#include "ddpm/model/state_dict.h"
#include "ddpm/model/unet2d.h"
#include "support/run_python.h"

namespace ddpm {
namespace {

ModelConfig recipe_network() {
  const RunConfig recipe = load_recipe(DDPM_SOURCE_DIR "/recipes/cifar10_ddpmpp.toml");
  return resolve_run_config(recipe, 3, 32, 0).model;
}

/// The recipe's network in small, with weights of a size at which every part counts.
std::shared_ptr<UNet2DImpl> small_network() {
  UNet2DConfig config = recipe_network().unet2d;
  config.block_out_channels = {96, 96, 96};
  config.conv_in_channels = config.time_embed_channels = 64;
  config.layers_per_block = 2;
  config.weight_init = WeightInit::kPyTorch;
  auto network = std::make_shared<UNet2DImpl>(config);
  initialize(*network, /*seed=*/1);
  const at::NoGradGuard no_grad;
  for (const auto& [name, tensor] : state_dict(*network)) {
    if (tensor.dim() == 1) tensor.add_(at::randn_like(tensor), 0.1);
  }
  network->to(at::kDouble);
  network->eval();
  return network;
}

TEST(DdpmppTest, TheRecipesNetworkHasThePublishedNumberOfParameters) {
  EXPECT_EQ(count_parameters(*make_network(recipe_network())), 55'733'891);
}

TEST(DdpmppTest, OutputsAndGradientsFollowThePaper) {
  at::manual_seed(0);
  const auto network = small_network();
  const Tensor x = at::randn({2, 3, 16, 16}, at::kDouble).requires_grad_();
  const Tensor t = at::tensor({3, 700}, at::kLong);
  const Tensor labels = at::randn({2, 9}, at::kDouble);
  const Tensor probe = at::randn({2, 3, 16, 16}, at::kDouble);
  const Tensor y = network->forward(x, t, {.augment_labels = labels});
  (y * probe).sum().backward();

  const std::string folder = ::testing::TempDir();
  NamedTensors given = state_dict(*network);
  given.insert(given.end(),
               {{"x", x.detach()}, {"t", t}, {"augment_labels", labels}, {"probe", probe}});
  write_safetensors(folder + "/ddpmpp_in.safetensors", given);
  testing::run_python({DDPM_SOURCE_DIR "/tests/model/unet2d_ddpmpp_reference.py",
                       folder + "/ddpmpp_in.safetensors", folder + "/ddpmpp_out.safetensors"});
  const NamedTensors answers = read_safetensors(folder + "/ddpmpp_out.safetensors").tensors;
  const std::map<std::string, Tensor> expected(answers.begin(), answers.end());
  const auto error = [](const Tensor& got, const Tensor& want) {
    return ((got - want).norm() / want.norm()).item<double>();
  };
  EXPECT_LE(error(y, expected.at("y")), 1e-10);
  EXPECT_LE(error(x.grad(), expected.at("grad_x")), 1e-10);
}

// The published weights start so: a residual branch adds almost nothing.
TEST(DdpmppTest, StartsWithSmallAnswersAndWorkingGradients) {
  ModelConfig config = recipe_network();
  config.unet2d.block_out_channels = {32, 32, 32};
  config.unet2d.conv_in_channels = config.unet2d.time_embed_channels = 32;
  const auto network = make_network(config);
  initialize(*network, /*seed=*/1);
  at::manual_seed(0);
  const Tensor y = network->forward(at::randn({1, 3, 8, 8}), at::tensor({5}, at::kLong), {});
  EXPECT_LT(y.abs().max().item<double>(), 1e-3);
  y.square().sum().backward();
  for (const auto& parameter : network->named_parameters()) {
    if (parameter.key() == "augment_embedding.weight") continue;  // no labels were given
    ASSERT_TRUE(parameter.value().grad().defined()) << parameter.key();
    EXPECT_TRUE(at::isfinite(parameter.value().grad()).all().item<bool>()) << parameter.key();
  }
}

}  // namespace
}  // namespace ddpm
