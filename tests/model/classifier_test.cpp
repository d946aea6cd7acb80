#include "ddpm/model/classifier.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <map>
#include <stdexcept>
#include <string>

#include "ddpm/model/state_dict.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::tensors_near;
using ::testing::ThrowsMessage;

ModelConfig small_classifier() {
  ModelConfig config;
  config.kind = ModelKind::kClassifier;
  config.classifier = {.in_channels = 3,
                       .num_classes = 5,
                       .block_out_channels = {8, 16, 24},
                       .layers_per_block = 1,
                       .attention_head_dim = 8,
                       .norm_num_groups = 4};
  return config;
}

std::shared_ptr<ClassifierImpl> initialized_classifier() {
  auto network = std::make_shared<ClassifierImpl>(small_classifier().classifier);
  initialize(*network, /*seed=*/1);
  network->eval();
  return network;
}

TEST(ClassifierTest, LogitsAreALinearLayerOfTheFeaturesAtAnySize) {
  const at::NoGradGuard no_grad;
  at::manual_seed(0);
  const auto network = initialized_classifier();
  EXPECT_EQ(network->num_features(), 24);
  const NamedTensors state = state_dict(*network);
  const std::map<std::string, Tensor> weights(state.begin(), state.end());
  const Tensor t = at::tensor({0, 700}, at::kLong);
  for (const int64_t side : {8, 20}) {
    const Tensor x = at::randn({2, 3, side, side});
    const Tensor features = network->features(x, t);
    ASSERT_EQ(features.sizes(), (std::vector<int64_t>{2, 24}));
    const Tensor logits = network->forward(x, t, {});
    const Tensor expected =
        features.matmul(weights.at("head.weight").t()) + weights.at("head.bias");
    EXPECT_TRUE(tensors_near(logits, expected, 1e-5));
  }
}

TEST(ClassifierTest, AnswersDependOnTheTimestepAndOnNoOtherImage) {
  const at::NoGradGuard no_grad;
  at::manual_seed(0);
  const auto network = initialized_classifier();
  const Tensor x = at::randn({2, 3, 8, 8});
  const Tensor both = network->forward(x, at::tensor({10, 900}, at::kLong), {});
  const Tensor first = network->forward(x.narrow(0, 0, 1), at::tensor({10}, at::kLong), {});
  EXPECT_TRUE(tensors_near(first, both.narrow(0, 0, 1), 1e-5));
  const Tensor later = network->forward(x.narrow(0, 0, 1), at::tensor({500}, at::kLong), {});
  EXPECT_GT((later - first).abs().max().item<double>(), 1e-3);
  const Tensor fractional = network->forward(x.narrow(0, 0, 1), at::tensor({10.0f}), {});
  EXPECT_TRUE(tensors_near(fractional, first, 1e-6));
}

TEST(ClassifierTest, MakeNetworkNamesTheFieldThatIsWrong) {
  struct Case {
    std::function<void(ClassifierConfig&)> spoil;
    const char* field;
  };
  const Case cases[] = {
      {[](auto& c) { c.in_channels = 0; }, "classifier.in_channels"},
      {[](auto& c) { c.num_classes = 0; }, "classifier.num_classes"},
      {[](auto& c) { c.block_out_channels.clear(); }, "classifier.block_out_channels"},
      {[](auto& c) { c.layers_per_block = 0; }, "classifier.layers_per_block"},
      {[](auto& c) { c.norm_num_groups = 3; }, "classifier.norm_num_groups"},
      {[](auto& c) { c.attention_head_dim = 25; }, "classifier.attention_head_dim"},
      {[](auto& c) { c.dropout = 2; }, "classifier.dropout"},
  };
  EXPECT_NO_THROW(make_network(small_classifier()));
  for (const Case& c : cases) {
    ModelConfig config = small_classifier();
    c.spoil(config.classifier);
    EXPECT_THAT([&] { make_network(config); },
                ThrowsMessage<std::invalid_argument>(HasSubstr(c.field)));
  }
}

TEST(ClassifierTest, SizesComeFromTheData) {
  ModelConfig config = small_classifier();
  config.classifier.in_channels = config.classifier.num_classes = 0;
  const ClassifierConfig resolved = resolve_model_config(config, 1, 28, 10).classifier;
  EXPECT_EQ(resolved.in_channels, 1);
  EXPECT_EQ(resolved.num_classes, 10);
  EXPECT_THAT([&] { resolve_model_config(config, 1, 28, 0); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("at least 2 classes, got 0")));
  EXPECT_THAT([&] { resolve_model_config(config, 1, 30, 10); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("multiple of 4, got 30")));
  EXPECT_THAT([&] { resolve_model_config(small_classifier(), 3, 32, 10); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("expected 10, got 5")));
}

TEST(ClassifierTest, InputsThatDoNotFitAreRefused) {
  const auto network = initialized_classifier();
  const Tensor t = at::zeros({2}, at::kLong);
  EXPECT_THAT(
      [&] {
        network->features(at::zeros({2, 1, 8, 8}), t);
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("expected [N, 3, H, W]")));
  EXPECT_THAT(
      [&] {
        network->features(at::zeros({2, 3, 10, 8}), t);
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("multiples of 4")));
  EXPECT_THAT(
      [&] {
        network->forward(at::zeros({2, 3, 8, 8}), t, {.class_labels = t});
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("expected no labels")));
}

}  // namespace
}  // namespace ddpm
