#include "ddpm/model/state_dict.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <stdexcept>
#include <string>

#include "model/small_unet.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::initialized;
using testing::small_unet_config;

NamedTensors copy_of(const NamedTensors& tensors) {
  NamedTensors copies;
  for (const auto& [name, tensor] : tensors) copies.emplace_back(name, tensor.detach().clone());
  return copies;
}

std::string load_error(torch::nn::Module& module, const NamedTensors& tensors) {
  try {
    load_state_dict(module, tensors, "a file");
  } catch (const std::invalid_argument& error) {
    return error.what();
  }
  return "no std::invalid_argument";
}

TEST(StateDictTest, LoadingTakesAnyOrderAndConvertsTypes) {
  const auto network = initialized(small_unet_config());
  NamedTensors reversed = copy_of(state_dict(*network));
  std::reverse(reversed.begin(), reversed.end());
  for (auto& [name, tensor] : reversed) tensor = tensor.to(at::kDouble);
  const auto loaded = make_network(small_unet_config());
  load_state_dict(*loaded, reversed, "a file");
  const NamedTensors expected = state_dict(*network);
  const NamedTensors got = state_dict(*loaded);
  for (size_t i = 0; i < expected.size(); ++i) {
    EXPECT_TRUE(at::equal(got[i].second, expected[i].second)) << expected[i].first;
  }
}

TEST(StateDictTest, LoadingNamesTheTensorThatDoesNotFitAndChangesNothing) {
  const auto network = initialized(small_unet_config());
  const NamedTensors good = copy_of(state_dict(*network));
  NamedTensors tensors = copy_of(good);
  tensors[0].second.zero_();
  tensors.back().second = at::zeros({4});
  EXPECT_THAT(load_error(*network, tensors), HasSubstr("'conv_out.bias' has a wrong shape"));
  tensors.pop_back();
  EXPECT_THAT(load_error(*network, tensors), HasSubstr("expected 'conv_out.bias' of [3]"));
  tensors = copy_of(good);
  tensors.emplace_back("conv_out.scale", at::zeros({3}));
  EXPECT_THAT(load_error(*network, tensors), HasSubstr("got 'conv_out.scale' too"));
  tensors.back().first = "conv_in.bias";
  EXPECT_THAT(load_error(*network, tensors), HasSubstr("'conv_in.bias' once"));
  EXPECT_TRUE(at::equal(state_dict(*network)[0].second, good[0].second));
}

TEST(StateDictTest, BuffersFollowTheParametersOfTheirModule) {
  ModelConfig talk;
  talk.kind = ModelKind::kSimpleUnet;
  talk.simple_unet.image_channels = 3;
  const NamedTensors tensors = state_dict(*make_network(talk));
  ASSERT_EQ(tensors.size(), 150U);  // reference/talk_networks.md
  EXPECT_EQ(tensors[0].first, "time_mlp.1.weight");
  EXPECT_EQ(tensors[14].first, "down_blocks.0.batch_norm1.running_mean");
}

}  // namespace
}  // namespace ddpm
