#include "ddpm/model/simple_unet.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <stdexcept>
#include <string>

#include "ddpm/model/state_dict.h"

namespace ddpm {
namespace {

/// Pseudo-random numbers in [-1, 1) that need no file: element i of tensor k.
Tensor formula(at::IntArrayRef shape, uint32_t k) {
  Tensor values = at::empty(shape, at::kDouble);
  auto* out = values.mutable_data_ptr<double>();
  for (int64_t i = 0; i < values.numel(); ++i) {
    uint32_t x = static_cast<uint32_t>(i) * 2654435761U + k * 40503U;
    x ^= x >> 16;
    x *= 0x45d9f3bU;
    x ^= x >> 16;
    out[i] = 2.0 * x / 4294967296.0 - 1.0;
  }
  return values;
}

/// The weights for which the talk's own classes gave the numbers below.
Tensor formula_weight(const std::string& name, at::IntArrayRef shape, uint32_t k) {
  const Tensor u = formula(shape, k);
  if (name.ends_with("running_mean")) return 0.1 * u;
  if (name.ends_with("running_var")) return 1 + 0.5 * u;
  if (name.ends_with("bias")) return 0.1 * u;
  if (u.dim() == 1) return 1 + 0.2 * u;
  return 1.7 * u / std::sqrt(static_cast<double>(u[0].numel()));
}

struct KnownAnswer {
  bool training;
  double mean, deviation;
  double corner[4];        ///< y[0, 0, 0, 0..3]
  double other_corner[2];  ///< y[1, 2, 31, 30..31]
  std::map<std::string, double> gradient_norms;
};

const KnownAnswer kAnswers[] = {
    {.training = false,
     .mean = 0.0068893173,
     .deviation = 0.1045877768,
     .corner = {0.0503724153, 0.0194311063, -0.0346937689, 0.0139928668},
     .other_corner = {0.0835446821, 0.037110207},
     .gradient_norms = {{"conv0.weight", 11.64142369},
                        {"down_blocks.2.conv2.weight", 2.890025831},
                        {"up_blocks.1.transform.weight", 9.035633412},
                        {"down_blocks.0.time_mlp.weight", 8.364167895},
                        {"time_mlp.1.weight", 26.14582023}}},
    {.training = true,
     .mean = 0.0274406417,
     .deviation = 0.4573235061,
     .corner = {0.0526048663, 0.2532201191, 0.1645496977, -0.5520255438},
     .other_corner = {-0.0983624861, 0.2217511925},
     .gradient_norms = {{"conv0.weight", 574.0242483},
                        {"down_blocks.2.conv2.weight", 2381.956393},
                        {"up_blocks.1.transform.weight", 579.3304656},
                        {"down_blocks.0.time_mlp.weight", 99.50676427},
                        {"time_mlp.1.weight", 182.7062347}}}};

std::shared_ptr<NetworkImpl> make_talk_network() {
  ModelConfig config;
  config.kind = ModelKind::kSimpleUnet;
  config.simple_unet.image_channels = 3;
  return make_network(config);
}

TEST(SimpleUnetTest, HasTheTalksNumberOfParameters) {
  EXPECT_EQ(count_parameters(*make_talk_network()), 62'438'883);
}

TEST(SimpleUnetTest, RefusesSizesThatTheLevelsCannotHalve) {
  const auto network = make_talk_network();
  try {
    network->forward(at::zeros({1, 3, 28, 28}), at::zeros({1}, at::kLong), {});
    FAIL() << "expected std::invalid_argument";
  } catch (const std::invalid_argument& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("expected multiples of 16, got 28 x 28"));
  }
}

// Reference: the talk's own class in float64 with the same weights. The published digits end at
// 1e-10 for values, and at the tenth significant digit for norms.
TEST(SimpleUnetTest, ValuesAndGradientsEqualTheTalksOwn) {
  const auto network = make_talk_network();
  network->to(at::kDouble);
  uint32_t k = 0;
  for (const auto& [name, tensor] : state_dict(*network)) {
    if (name.ends_with("num_batches_tracked")) continue;
    const at::NoGradGuard no_grad;
    tensor.copy_(formula_weight(name, tensor.sizes(), k++));
  }
  const Tensor x = formula({2, 3, 32, 32}, 1000);
  const Tensor t = at::tensor({7, 250}, at::kLong);
  for (const KnownAnswer& answer : kAnswers) {
    network->train(answer.training);
    network->zero_grad();
    const Tensor y = network->forward(x, t, {});
    (y * formula(y.sizes(), 2000)).sum().backward();

    const Tensor values = y.detach();
    EXPECT_NEAR(values.mean().item<double>(), answer.mean, 1e-8);
    EXPECT_NEAR(values.std(/*unbiased=*/false).item<double>(), answer.deviation, 1e-8);
    for (int64_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(values[0][0][0][i].item<double>(), answer.corner[i], 1e-8);
    }
    for (int64_t i = 0; i < 2; ++i) {
      EXPECT_NEAR(values[1][2][31][30 + i].item<double>(), answer.other_corner[i], 1e-8);
    }
    const auto parameters = network->named_parameters();
    for (const auto& [name, norm] : answer.gradient_norms) {
      EXPECT_NEAR(parameters[name].grad().norm().item<double>() / norm, 1.0, 1e-8) << name;
    }
  }
}

}  // namespace
}  // namespace ddpm
