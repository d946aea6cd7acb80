#include "ddpm/model/simple_unet.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <map>
#include <stdexcept>
#include <string>
#include <vector>

#include "ddpm/config/toml_config.h"
#include "ddpm/model/state_dict.h"

namespace ddpm {
namespace {

struct KnownAnswer {
  bool training;
  double mean, deviation;
  std::vector<double> corner;        ///< y[0, 0, 0, 0..3]
  std::vector<double> other_corner;  ///< y[1, 2, 31, 30..31]
  std::vector<double> gradient_norms;
};

struct TalkNetwork {
  const char* recipe;
  int64_t num_parameters;
  size_t num_tensors;
  bool attends, has_cbam;
  std::vector<KnownAnswer> answers;
};

const char* const kGradients[] = {"conv0.weight", "down_blocks.2.conv2.weight",
                                  "up_blocks.1.transform.weight", "down_blocks.0.time_mlp.weight",
                                  "time_mlp.1.weight"};

// The talk's own classes gave these numbers in float64 for formula_weight's weights.
const TalkNetwork kTalkNetworks[] = {
    {"cifar10_talk_simple_unet",
     62'438'883,
     150,
     false,
     false,
     {{.training = false,
       .mean = 0.0068893173,
       .deviation = 0.1045877768,
       .corner = {0.0503724153, 0.0194311063, -0.0346937689, 0.0139928668},
       .other_corner = {0.0835446821, 0.037110207},
       .gradient_norms = {11.64142369, 2.890025831, 9.035633412, 8.364167895, 26.14582023}},
      {.training = true,
       .mean = 0.0274406417,
       .deviation = 0.4573235061,
       .corner = {0.0526048663, 0.2532201191, 0.1645496977, -0.5520255438},
       .other_corner = {-0.0983624861, 0.2217511925},
       .gradient_norms = {574.0242483, 2381.956393, 579.3304656, 99.50676427, 182.7062347}}}},
    {"cifar10_talk_self_attention",
     75'035'107,
     162,
     true,
     false,
     {{.training = false,
       .mean = 0.0114855855,
       .deviation = 0.1083129201,
       .corner = {0.0351123028, -0.0197503951, 0.0984165941, 0.0613738971},
       .other_corner = {-0.1188023287, 0.0104167723},
       .gradient_norms = {11.49951206, 3.502456948, 9.022225106, 8.531843295, 29.0260353}},
      {.training = true,
       .mean = 0.0202815389,
       .deviation = 0.4481504072,
       .corner = {0.0872120553, -0.2590531943, -0.0872669548, 0.2131704514},
       .other_corner = {-0.0272266142, -0.165797513},
       .gradient_norms = {513.4190388, 2154.217628, 580.3095142, 86.69794514, 149.5951857}}}},
    {"cifar10_talk_cbam",
     75'256'559,
     210,
     true,
     true,
     {{.training = false,
       .mean = 0.0840858666,
       .deviation = 0.0440060752,
       .corner = {0.135074573, 0.1380560955, 0.1366344509, 0.132588104},
       .other_corner = {0.0132441051, 0.0183425396},
       .gradient_norms = {0.7889305424, 0.01414321298, 0.2057002896, 0.5289661368, 4.934308785}},
      {.training = true,
       .mean = 0.0740137107,
       .deviation = 0.1673165058,
       .corner = {0.1520248174, 0.1341830213, 0.1999065859, 0.2140914358},
       .other_corner = {0.1132976097, 0.0134668586},
       .gradient_norms = {210.2632713, 762.1150368, 246.6378883, 41.63695994, 57.35823748}}}}};

ModelConfig config_of(const TalkNetwork& talk) {
  const RunConfig recipe =
      load_recipe(std::string(DDPM_SOURCE_DIR "/recipes/") + talk.recipe + ".toml");
  return resolve_model_config(recipe.model, /*channels=*/3, recipe.data.image_size,
                              /*num_classes=*/0);
}

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

Tensor formula_weight(const std::string& name, at::IntArrayRef shape, uint32_t k) {
  const Tensor u = formula(shape, k);
  if (name.ends_with("running_mean")) return 0.1 * u;
  if (name.ends_with("running_var")) return 1 + 0.5 * u;
  if (name.ends_with("bias")) return 0.1 * u;
  if (u.dim() == 1) return 1 + 0.2 * u;
  return 1.7 * u / std::sqrt(static_cast<double>(u[0].numel()));
}

std::shared_ptr<NetworkImpl> formula_network(const TalkNetwork& talk) {
  ModelConfig config = config_of(talk);
  config.simple_unet.self_attention_dropout = 0.0;  // as for the known answers
  auto network = make_network(config);
  network->to(at::kDouble);
  uint32_t k = 0;
  for (const auto& [name, tensor] : state_dict(*network)) {
    if (name.ends_with("num_batches_tracked")) continue;
    const at::NoGradGuard no_grad;
    tensor.copy_(formula_weight(name, tensor.sizes(), k++));
  }
  return network;
}

/// The state dict's names as the talk's repository orders them.
std::vector<std::string> talk_names(const TalkNetwork& talk) {
  std::vector<std::string> names;
  const auto affine = [&](const std::string& module) {
    names.insert(names.end(), {module + ".weight", module + ".bias"});
  };
  affine("time_mlp.1");
  affine("conv0");
  for (int i = 0; i < 8; ++i) {
    const std::string block = (i < 4 ? "down_blocks." : "up_blocks.") + std::to_string(i % 4) + ".";
    for (const char* module : {"time_mlp", "conv1", "transform", "conv2"}) affine(block + module);
    for (const char* norm : {"batch_norm1", "batch_norm2"}) {
      affine(block + norm);
      for (const char* buffer : {".running_mean", ".running_var", ".num_batches_tracked"}) {
        names.push_back(block + norm + buffer);
      }
    }
    if (!talk.has_cbam) continue;
    for (const char* module : {"channel_attn.1", "channel_attn.3", "spatial_attn.0"}) {
      affine(block + "cbam." + module);
    }
  }
  if (talk.attends) {
    affine("self_attention.norm");
    names.insert(names.end(),
                 {"self_attention.attn.in_proj_weight", "self_attention.attn.in_proj_bias"});
    for (const char* module : {"attn.out_proj", "ffn.0", "ffn.2", "norm2"}) {
      affine(std::string("self_attention.") + module);
    }
  }
  affine("output");
  return names;
}

class TalkNetworksTest : public ::testing::TestWithParam<TalkNetwork> {};

TEST_P(TalkNetworksTest, HasTheTalksTensorsAndParameters) {
  const auto network = make_network(config_of(GetParam()));
  EXPECT_EQ(count_parameters(*network), GetParam().num_parameters);
  std::vector<std::string> names;
  for (const auto& item : state_dict(*network)) names.push_back(item.first);
  EXPECT_EQ(names, talk_names(GetParam()));
  EXPECT_EQ(names.size(), GetParam().num_tensors);
}

// The published digits end at 1e-10 for values, and at the tenth significant digit for norms.
TEST_P(TalkNetworksTest, ValuesAndGradientsEqualTheTalksOwn) {
  const auto network = formula_network(GetParam());
  const Tensor x = formula({2, 3, 32, 32}, 1000);
  const Tensor t = at::tensor({7, 250}, at::kLong);
  for (const KnownAnswer& answer : GetParam().answers) {
    network->train(answer.training);
    network->zero_grad();
    const Tensor y = network->forward(x, t, {});
    (y * formula(y.sizes(), 2000)).sum().backward();

    const Tensor values = y.detach();
    EXPECT_NEAR(values.mean().item<double>(), answer.mean, 1e-8);
    EXPECT_NEAR(values.std(/*unbiased=*/false).item<double>(), answer.deviation, 1e-8);
    for (int64_t i = 0; i < 4; ++i) {
      EXPECT_NEAR(values[0][0][0][i].item<double>(), answer.corner[static_cast<size_t>(i)], 1e-8);
    }
    for (int64_t i = 0; i < 2; ++i) {
      EXPECT_NEAR(values[1][2][31][30 + i].item<double>(),
                  answer.other_corner[static_cast<size_t>(i)], 1e-8);
    }
    const auto parameters = network->named_parameters();
    for (size_t i = 0; i < answer.gradient_norms.size(); ++i) {
      const double norm = parameters[kGradients[i]].grad().norm().item<double>();
      EXPECT_NEAR(norm / answer.gradient_norms[i], 1.0, 1e-8) << kGradients[i];
    }
  }
}

INSTANTIATE_TEST_SUITE_P(Recipes, TalkNetworksTest, ::testing::ValuesIn(kTalkNetworks),
                         [](const auto& talk) { return std::string(talk.param.recipe); });

TEST(SimpleUnetTest, RefusesSizesThatTheLevelsCannotHalve) {
  const auto network = make_network(config_of(kTalkNetworks[0]));
  try {
    network->forward(at::zeros({1, 3, 28, 28}), at::zeros({1}, at::kLong), {});
    FAIL() << "expected std::invalid_argument";
  } catch (const std::invalid_argument& error) {
    EXPECT_THAT(error.what(), ::testing::HasSubstr("expected multiples of 16, got 28 x 28"));
  }
}

}  // namespace
}  // namespace ddpm
