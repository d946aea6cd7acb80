#include <gtest/gtest.h>

#include "ddpm/core/device.h"
#include "ddpm/training/trainer.h"
#include "training/training_fixtures.h"

namespace ddpm {
namespace {

using testing::expect_same_bits;
using testing::initialized_network;
using testing::resolved;
using testing::RunFolder;
using testing::tiny_config;
using testing::tiny_images;

class TrainerGpuTest : public ::testing::TestWithParam<Precision> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
    configure_gpu();
  }

  static RunConfig config(const char* device) {
    RunConfig config = tiny_config();
    config.train.device = device;
    config.train.precision = GetParam();
    config.train.accumulation = 2;
    config.model.unet2d.dropout = 0.2;
    config.data.horizontal_flip = true;
    config.augment.enabled = true;
    config.augment.x_flip = false;  // the data's flips are there already
    config.augment.probability = 0.5;
    config.train.super_resolution = 2;
    return resolved(config);
  }
};

// With two timesteps the history of losses is full before the stop.
RunConfig with_device_state(RunConfig recipe) {
  recipe.diffusion.num_timesteps = 2;
  recipe.train.timestep_sampling = TimestepSampling::kLossAware;
  recipe.ema.power_stds = {0.05, 0.1};
  return recipe;
}

TEST_P(TrainerGpuTest, AStoppedRunGoesOnBitForBit) {
  const RunFolder folder;
  const RunConfig recipe = with_device_state(config("cuda"));
  Trainer straight(recipe, initialized_network(recipe), tiny_images(), folder / "straight");
  straight.run();

  TrainerHooks stop;
  stop.poll = [calls = 0]() mutable {
    return ++calls == 4 ? StopRequest::kStop : StopRequest::kNone;
  };
  Trainer(recipe, initialized_network(recipe), tiny_images(), folder / "stopped", stop).run();
  Trainer resumed(recipe, initialized_network(recipe), tiny_images(), folder / "stopped");
  resumed.resume(read_checkpoint(find_checkpoint(folder / "stopped")->entry.folder));
  EXPECT_EQ(resumed.step(), 4);
  resumed.run();

  const CheckpointContents got = resumed.checkpoint_contents();
  const CheckpointContents expected = straight.checkpoint_contents();
  expect_same_bits(got.weights, expected.weights);
  expect_same_bits(got.ema, expected.ema);
  expect_same_bits(got.optimizer, expected.optimizer);
}

TEST_P(TrainerGpuTest, AFewStepsMoveTheWeightsAsOnTheCpu) {
  const RunFolder folder;
  const auto weights_after = [&](const char* device) {
    RunConfig recipe = config(device);
    recipe.model.unet2d.dropout = 0;  // its draws differ between devices
    recipe.optimizer.eps = 1e-2;      // so that no weight follows the sign of a rounding error
    recipe.train.steps = 3;
    Trainer trainer(recipe, initialized_network(recipe), tiny_images(), folder / device);
    trainer.run();
    return trainer.checkpoint_contents().weights;
  };
  const NamedTensors cpu = weights_after("cpu");
  const NamedTensors gpu = weights_after("cuda");
  const double tolerance = GetParam() == Precision::kFp32 ? 2e-5 : 2e-3;
  ASSERT_EQ(cpu.size(), gpu.size());
  for (size_t i = 0; i < cpu.size(); ++i) {
    const double error = (gpu[i].second.cpu() - cpu[i].second).abs().max().item<double>();
    EXPECT_LT(error, tolerance) << cpu[i].first;
  }
}

INSTANTIATE_TEST_SUITE_P(Precisions, TrainerGpuTest,
                         ::testing::Values(Precision::kFp32, Precision::kBf16),
                         [](const auto& test) { return enum_word(test.param); });

}  // namespace
}  // namespace ddpm
