#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ddpm/core/philox.h"
#include "ddpm/model/network.h"
#include "ddpm/model/state_dict.h"
#include "model/small_unet.h"

namespace ddpm {
namespace {

using testing::initialized;
using testing::small_unet_config;

TEST(InitializeTest, SameSeedGivesTheSameBitsAndAnotherSeedOthers) {
  const auto first = make_network(small_unet_config());
  const auto again = make_network(small_unet_config());
  const auto other = make_network(small_unet_config());
  initialize(*first, 5);
  initialize(*again, 5);
  initialize(*other, 6);
  const Tensor weight = first->named_parameters()["conv_in.weight"];
  EXPECT_TRUE(at::equal(weight, again->named_parameters()["conv_in.weight"]));
  EXPECT_FALSE(at::equal(weight, other->named_parameters()["conv_in.weight"]));
}

// PyTorch: uniform within 1 / sqrt(fan_in) for weights and biases; norms 1 and 0.
TEST(InitializeTest, DrawsPyTorchsDefaultDistributions) {
  const auto network = initialized(small_unet_config());
  for (const auto& [name, tensor] : state_dict(*network)) {
    if (name.find("norm") != std::string::npos) {
      EXPECT_TRUE(at::equal(tensor, at::full_like(tensor, name.ends_with("weight") ? 1 : 0)))
          << name;
    } else if (tensor.dim() > 1) {
      const double bound = 1 / std::sqrt(static_cast<double>(tensor[0].numel()));
      const double largest = tensor.abs().max().item<double>();
      EXPECT_LE(largest, bound) << name;
      EXPECT_GT(largest, 0.95 * bound) << name;  // the smallest weight has 432 elements
      // A uniform variable's deviation is bound / sqrt(3); 432 draws know it within 10%.
      EXPECT_NEAR(tensor.std().item<double>(), bound / std::sqrt(3.0), 0.1 * bound) << name;
    } else {
      EXPECT_GT(tensor.abs().max().item<double>(), 0.0) << name;
    }
  }
}

TEST(InitializeTest, TensorKOfTheStateDictTakesStreamK) {
  const auto network = initialized(small_unet_config());
  const NamedTensors tensors = state_dict(*network);
  const size_t k = 10;
  ASSERT_EQ(tensors[k].first, "down_blocks.0.resnets.0.time_emb_proj.weight");
  float draws[3];
  fill_uniform({.seed = 1, .stream = RandomStream::kWeights}, k, 0, draws, 3);
  for (int64_t i = 0; i < 3; ++i) {
    EXPECT_NEAR(tensors[k].second[0][i].item<double>(), (2 * double{draws[i]} - 1) / 8, 1e-7);
  }
}

TEST(InitializeTest, TransposedConvolutionsAndEmbeddingsHaveTheirOwnDefaults) {
  ModelConfig talk;
  talk.kind = ModelKind::kSimpleUnet;
  talk.simple_unet.image_channels = 3;
  const auto simple = initialized(talk);
  // [1024 in, 512 out, 4, 4] in block 0: PyTorch counts the second dimension.
  const Tensor transform = simple->named_parameters()["up_blocks.3.transform.weight"];
  EXPECT_NEAR(transform.abs().max().item<double>(), 1 / std::sqrt(64.0 * 16), 1e-4);

  ModelConfig classes = small_unet_config();
  classes.unet2d.num_class_embeds = 50;
  const Tensor table = initialized(classes)->named_parameters()["class_embedding.weight"];
  EXPECT_NEAR(table.mean().item<double>(), 0.0, 0.1);  // 3,200 standard normals: within 0.018
  EXPECT_NEAR(table.std().item<double>(), 1.0, 0.1);
}

}  // namespace
}  // namespace ddpm
