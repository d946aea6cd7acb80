#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <map>
#include <string>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/model/classifier.h"
#include "model/random_weights.h"
#include "support/run_python.h"

namespace ddpm {
namespace {

std::shared_ptr<ClassifierImpl> random_classifier() {
  const ClassifierConfig config{.in_channels = 3,
                                .num_classes = 5,
                                .block_out_channels = {16, 24, 32},
                                .layers_per_block = 2,
                                .attention_head_dim = 16,
                                .norm_num_groups = 4};
  auto network = std::make_shared<ClassifierImpl>(config);
  initialize(*network, /*seed=*/1);
  testing::randomize(*network);
  return network;
}

TEST(ClassifierParityTest, LogitsAndGradientsEqualPyTorchs) {
  at::manual_seed(0);
  const auto network = random_classifier();
  const Tensor x = at::randn({3, 3, 16, 8}, at::kDouble).requires_grad_();
  const Tensor t = at::tensor({0, 3, 700}, at::kLong);
  const Tensor labels = at::tensor({1, 4, 0}, at::kLong);
  const Tensor logits = network->forward(x, t, {});
  (-logits.log_softmax(1).gather(1, labels.unsqueeze(1))).mean().backward();
  std::map<std::string, Tensor> got{{"logits", logits.detach()},
                                    {"features", network->features(x, t).detach()},
                                    {"grad.x", x.grad()}};
  NamedTensors given{{"x", x.detach()}, {"t", t}, {"labels", labels}};
  for (const auto& item : network->named_parameters()) {
    given.emplace_back(item.key(), item.value().detach().contiguous());
    got["grad." + item.key()] = item.value().grad();
  }

  const std::string folder = ::testing::TempDir();
  write_safetensors(folder + "/classifier_in.safetensors", given);
  testing::run_python({DDPM_SOURCE_DIR "/tests/model/classifier_reference.py",
                       folder + "/classifier_in.safetensors",
                       folder + "/classifier_out.safetensors"});
  const NamedTensors answers = read_safetensors(folder + "/classifier_out.safetensors").tensors;
  ASSERT_EQ(answers.size(), got.size());
  for (const auto& [name, expected] : answers) {
    ASSERT_TRUE(got.contains(name)) << name;
    // A convolution's bias before a norm has next to no gradient: its error is of the others' size.
    const double error = (got.at(name) - expected).norm().item<double>();
    EXPECT_LE(error, 1e-10 * (1 + expected.norm().item<double>())) << name;
  }
}

}  // namespace
}  // namespace ddpm
