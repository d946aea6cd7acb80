#include "ddpm/model/gradient_checkpoint.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <map>
#include <string>

#include "ddpm/config/model_config.h"
#include "model/small_unet.h"

namespace ddpm {
namespace {

TEST(GradientCheckpointTest, CallsTheFunctionAgainForTheGradient) {
  const Tensor weight = at::randn({3, 3}, at::kDouble).requires_grad_();
  const Tensor x = at::randn({2, 3}, at::kDouble).requires_grad_();
  int calls = 0;
  const auto function = [&](const std::vector<Tensor>& inputs) {
    ++calls;
    return at::tanh(at::mm(inputs[0], weight));
  };
  const Tensor y = gradient_checkpoint(function, {x}, /*draws=*/false);
  EXPECT_EQ(calls, 1);
  y.square().sum().backward();
  EXPECT_EQ(calls, 2);
  const Tensor got_x = x.grad().clone(), got_weight = weight.grad().clone();
  x.mutable_grad() = Tensor();
  weight.mutable_grad() = Tensor();
  at::tanh(at::mm(x, weight)).square().sum().backward();
  EXPECT_TRUE(at::equal(got_x, x.grad()));
  EXPECT_TRUE(at::equal(got_weight, weight.grad()));
}

TEST(GradientCheckpointTest, WhatWasDrawnIsDrawnAgainAndTheGeneratorGoesOn) {
  at::manual_seed(3);
  const Tensor x = at::ones({1000}).requires_grad_();
  const auto drop = [](const std::vector<Tensor>& inputs) {
    return at::dropout(inputs[0], 0.5, /*train=*/true);
  };
  const Tensor y = gradient_checkpoint(drop, {x}, /*draws=*/true);
  const Tensor before = at::rand({5});
  y.sum().backward();
  EXPECT_TRUE(at::equal(x.grad(), y.detach()));  // 2 where it was kept, 0 elsewhere
  const Tensor after = at::rand({5});
  at::manual_seed(3);
  at::dropout(at::ones({1000}), 0.5, /*train=*/true);
  EXPECT_TRUE(at::equal(at::rand({5}), before));
  EXPECT_TRUE(at::equal(at::rand({5}), after));
}

/// The network's output and the gradients of its sum of squares, for one seed of dropout.
std::map<std::string, Tensor> answers(bool checkpoints) {
  ModelConfig config = testing::small_unet_config();
  config.unet2d.dropout = 0.3;
  const auto network = testing::initialized(config);
  network->train();
  EXPECT_EQ(checkpoints && checkpoint_gradients(*network), checkpoints);
  at::manual_seed(5);
  const Tensor x = at::randn({2, 3, 16, 16});
  const Tensor y = network->forward(x, at::tensor({3, 700}, at::kLong), {});
  y.square().sum().backward();
  std::map<std::string, Tensor> found{{"y", y.detach()}};
  for (const auto& parameter : network->named_parameters()) {
    found["grad of " + parameter.key()] = parameter.value().grad();
  }
  return found;
}

// Up to the order in which the gradients of a map that goes three ways are added.
TEST(GradientCheckpointTest, ANetworkWithDropoutHasTheSameGradients) {
  const auto expected = answers(/*checkpoints=*/false);
  for (const auto& [name, tensor] : answers(/*checkpoints=*/true)) {
    const Tensor& plain = expected.at(name);
    EXPECT_LE((tensor - plain).norm().item<double>(),
              1e-6 * std::max(1.0, plain.norm().item<double>()))
        << name;
  }
}

TEST(GradientCheckpointTest, NetworksWithoutSuchBlocksSaySo) {
  ModelConfig config;
  config.kind = ModelKind::kSimpleUnet;
  config.simple_unet.image_channels = 3;
  config.simple_unet.level_channels = {8, 16};
  EXPECT_FALSE(checkpoint_gradients(*make_network(config)));
}

}  // namespace
}  // namespace ddpm
