#include "ddpm/model/unet2d.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>
#include <stdexcept>
#include <string>
#include <vector>

#include "ddpm/model/state_dict.h"
#include "model/small_unet.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::initialized;
using testing::small_unet_config;
using testing::tensors_near;

class UNet2DTest : public ::testing::Test {
 protected:
  void SetUp() override {
    at::manual_seed(0);
    x_ = at::randn({2, 3, 8, 12});
    t_ = at::tensor({3, 700}, at::kLong);
  }

  std::string error_of(NetworkImpl& network, const Tensor& x, const Tensor& t,
                       const Tensor& class_labels) {
    try {
      network.forward(x, t, {.class_labels = class_labels});
    } catch (const std::invalid_argument& error) {
      return error.what();
    }
    return "no std::invalid_argument";
  }

  at::NoGradGuard no_grad_;
  Tensor x_, t_;
};

// The network of [DDPM] for CIFAR-10, as google/ddpm-cifar10-32 has it; the list was read from it.
TEST_F(UNet2DTest, Cifar10NetworkHasTheNamesShapesAndOrderOfDiffusers) {
  ModelConfig config;
  config.unet2d.in_channels = config.unet2d.out_channels = 3;
  config.unet2d.block_out_channels = {128, 256, 256, 256};
  config.unet2d.attention_head_dim = 0;
  config.unet2d.down_block_types = {DownBlockType::kDown, DownBlockType::kAttnDown,
                                    DownBlockType::kDown, DownBlockType::kDown};
  config.unet2d.up_block_types = {UpBlockType::kUp, UpBlockType::kUp, UpBlockType::kAttnUp,
                                  UpBlockType::kUp};
  const auto network = make_network(config);
  EXPECT_EQ(count_parameters(*network), 35'746'307);

  std::ifstream list(DDPM_SOURCE_DIR "/tests/model/unet2d_ddpm_cifar10_keys.txt");
  const NamedTensors tensors = state_dict(*network);
  std::string line;
  for (const auto& [name, tensor] : tensors) {
    ASSERT_TRUE(std::getline(list, line));
    std::string shape;
    for (const int64_t size : tensor.sizes()) {
      shape += (shape.empty() ? "" : ", ") + std::to_string(size);
    }
    EXPECT_EQ(name + " (" + shape + (tensor.dim() == 1 ? ",)" : ")"), line);
  }
  EXPECT_FALSE(std::getline(list, line)) << line;
}

TEST_F(UNet2DTest, AnswersInChannelsLastWhateverTheInputsLayout) {
  const auto network = initialized(small_unet_config());
  const Tensor y = network->forward(x_, t_, {});
  EXPECT_EQ(y.sizes(), x_.sizes());
  EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
  const Tensor again = network->forward(x_.contiguous(at::MemoryFormat::ChannelsLast), t_, {});
  EXPECT_TRUE(tensors_near(again, y, 1e-6));
}

TEST_F(UNet2DTest, AnImageDoesNotDependOnItsBatch) {
  const auto network = initialized(small_unet_config());
  const Tensor both = network->forward(x_, t_, {});
  const Tensor alone = network->forward(x_.narrow(0, 1, 1), t_.narrow(0, 1, 1), {});
  EXPECT_TRUE(tensors_near(alone, both.narrow(0, 1, 1), 1e-5));
}

TEST_F(UNet2DTest, Bf16AndFloat64FollowFloat32) {
  const auto network = initialized(small_unet_config());
  const Tensor y = network->forward(x_, t_, {});
  network->to(at::kDouble);
  EXPECT_TRUE(tensors_near(network->forward(x_.to(at::kDouble), t_, {}).to(at::kFloat), y, 1e-5));
  network->to(at::kBFloat16);
  const Tensor coarse = network->forward(x_.to(at::kBFloat16), t_, {});
  EXPECT_EQ(coarse.scalar_type(), at::kBFloat16);
  // bf16 rounds to 1/256; a dozen layers add up to a few of that.
  EXPECT_TRUE(tensors_near(coarse.to(at::kFloat), y, 0.03 * y.abs().max().item<double>()));
}

TEST_F(UNet2DTest, DropoutActsInTrainingOnly) {
  ModelConfig config = small_unet_config();
  const Tensor plain = initialized(config)->forward(x_, t_, {});
  config.unet2d.dropout = 0.5;
  const auto network = initialized(config);
  EXPECT_TRUE(at::equal(network->forward(x_, t_, {}), plain));
  network->train();
  const Tensor first = network->forward(x_, t_, {});
  EXPECT_FALSE(at::equal(first, network->forward(x_, t_, {})));
}

TEST_F(UNet2DTest, RefusesInputsThatDoNotFit) {
  const auto network = initialized(small_unet_config());
  EXPECT_THAT(error_of(*network, at::zeros({2, 3, 8, 7}), t_, {}),
              HasSubstr("expected multiples of 2, got 8 x 7"));
  EXPECT_THAT(error_of(*network, at::zeros({2, 1, 8, 8}), t_, {}),
              HasSubstr("expected [N, 3, H, W], got [2, 1, 8, 8]"));
  EXPECT_THAT(error_of(*network, x_, at::zeros({3}, at::kLong), {}),
              HasSubstr("expected [2], got [3]"));
  EXPECT_THAT(error_of(*network, x_, t_, t_), HasSubstr("no classes"));
}

TEST_F(UNet2DTest, ClassLabelsChangeTheAnswerAndMayNotBeMissing) {
  ModelConfig config = small_unet_config();
  config.unet2d.num_class_embeds = 4;
  const auto network = initialized(config);
  const Tensor y = network->forward(x_, t_, {.class_labels = at::tensor({0, 1}, at::kLong)});
  const Tensor other = network->forward(x_, t_, {.class_labels = at::tensor({0, 2}, at::kLong)});
  EXPECT_TRUE(at::equal(y[0], other[0]));
  EXPECT_FALSE(at::equal(y[1], other[1]));
  EXPECT_THAT(error_of(*network, x_, t_, {}), HasSubstr("class labels are missing"));
  EXPECT_THAT(error_of(*network, x_, t_, at::zeros({3}, at::kLong)),
              HasSubstr("class_labels do not fit"));
}

}  // namespace
}  // namespace ddpm
