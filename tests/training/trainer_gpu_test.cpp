#include <gmock/gmock.h>
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

void expect_same_state(const CheckpointContents& got, const CheckpointContents& expected) {
  expect_same_bits(got.weights, expected.weights);
  expect_same_bits(got.ema, expected.ema);
  expect_same_bits(got.optimizer, expected.optimizer);
}

CheckpointContents state_of(TrainStep& train_step) {
  CheckpointContents contents;
  contents.weights = train_step.weights_state();
  contents.ema = train_step.ema_state();
  contents.optimizer = train_step.optimizer_state();
  return contents;
}

/// The state after `steps` steps on the first images.
CheckpointContents state_after(const RunConfig& recipe, std::shared_ptr<NetworkImpl> network,
                               int64_t steps, bool expect_capture,
                               const ImageSet& images = tiny_images()) {
  const at::Device device(at::kCUDA, 0);
  network->to(device);
  TrainStep train_step(recipe, std::move(network), device);
  BatchLoader loader(images, recipe.train.batch_size, /*seed=*/1, /*horizontal_flip=*/true,
                     /*prefetch=*/2, /*first_batch=*/0);
  for (int64_t step = 0; step < steps; ++step) {
    train_step.prepare(loader.next(), step);
    train_step.run();
  }
  EXPECT_EQ(train_step.is_captured(), expect_capture);
  return state_of(train_step);
}

TEST_P(TrainerGpuTest, ACapturedRunHasTheBitsOfAnUncapturedOne) {
  RunConfig recipe = with_device_state(config("cuda"));
  for (const int64_t accumulation : {1, 2}) {
    recipe.train.accumulation = accumulation;
    const auto run = [&](Capture capture) {
      recipe.train.capture = capture;
      return state_after(recipe, initialized_network(recipe), /*steps=*/20,
                         /*expect_capture=*/capture == Capture::kAuto);
    };
    expect_same_state(run(Capture::kAuto), run(Capture::kOff));
  }
}

// On Hopper its convolutions take their norms on the way.
TEST_P(TrainerGpuTest, ACapturedRunOfWideMapsHasTheBitsOfAnUncapturedOne) {
  RunConfig recipe = tiny_config();
  recipe.model.unet2d.block_out_channels = {256, 256};
  recipe.model.unet2d.norm_num_groups = 32;
  recipe.train.precision = GetParam();
  recipe.train.device = "cuda";
  recipe.train.batch_size = 128;
  recipe = resolved(recipe);
  const ImageSet images = make_shapes(/*count=*/256, /*size=*/8, /*channels=*/1, /*seed=*/0);
  for (const bool checkpointing : {false, true}) {
    recipe.train.gradient_checkpointing = checkpointing;
    const auto run = [&](Capture capture) {
      recipe.train.capture = capture;
      return state_after(recipe, initialized_network(recipe), /*steps=*/12,
                         /*expect_capture=*/capture == Capture::kAuto, images);
    };
    expect_same_state(run(Capture::kAuto), run(Capture::kOff));
  }
}

// Previews bind other weights to the network, and capture graphs of their own.
TEST_P(TrainerGpuTest, PreviewsBetweenReplaysChangeNothing) {
  const RunFolder folder;
  RunConfig recipe = config("cuda");
  recipe.train.steps = 20;
  const auto run = [&](Capture capture, int64_t preview_every) {
    recipe.train.capture = capture;
    recipe.train.preview_every = preview_every;
    recipe.train.preview_steps = 6;
    const std::string name = enum_word(capture) + std::to_string(preview_every);
    Trainer trainer(recipe, initialized_network(recipe), tiny_images(), folder / name);
    trainer.run();
    return trainer.checkpoint_contents();
  };
  const CheckpointContents expected = run(Capture::kOff, 0);
  expect_same_state(run(Capture::kAuto, 7), expected);
  expect_same_state(run(Capture::kOff, 7), expected);
  for (const char* picture : {"step-00000007.png", "step-00000014.png", "step-00000020.png"}) {
    EXPECT_EQ(testing::read_text(folder / "auto7" / "samples" / picture),
              testing::read_text(folder / "off7" / "samples" / picture));
  }
}

/// Waits for the device, which a capture can't.
class WaitingNetwork : public testing::BatchNormNetwork {
 public:
  using BatchNormNetwork::BatchNormNetwork;
  Tensor forward(const Tensor& x, const Tensor& t, const NetworkLabels& labels) override {
    const Tensor y = BatchNormNetwork::forward(x, t, labels);
    last_mean = y.mean().item<double>();
    return y;
  }
  double last_mean = 0;
};

TEST_P(TrainerGpuTest, WhatCannotBeCapturedRunsAsItIsAndSaysSoOnce) {
  const RunConfig recipe = [] {
    RunConfig plain = tiny_config();
    plain.train.precision = GetParam();
    return resolved(plain);
  }();
  ::testing::internal::CaptureStderr();
  const auto got = state_after(recipe, std::make_shared<WaitingNetwork>(), 8, false);
  state_after(recipe, std::make_shared<WaitingNetwork>(), 8, false);
  const std::string said = ::testing::internal::GetCapturedStderr();
  if (GetParam() == Precision::kFp32) {  // once a process
    EXPECT_THAT(said, ::testing::HasSubstr("[TrainStep] can't be captured in a CUDA graph"));
  }
  EXPECT_EQ(said.find("[TrainStep]"), said.rfind("[TrainStep]"));
  // Dropout's generator is as before.
  expect_same_state(got,
                    state_after(recipe, std::make_shared<testing::BatchNormNetwork>(), 8, true));
}

TEST_P(TrainerGpuTest, GradientCheckpointingIsCapturedUnlessThereIsDropout) {
  RunConfig recipe = config("cuda");
  recipe.model.unet2d.dropout = 0;
  recipe.train.gradient_checkpointing = true;
  const auto captured = state_after(recipe, initialized_network(recipe), 8, true);
  recipe.train.capture = Capture::kOff;
  expect_same_state(captured, state_after(recipe, initialized_network(recipe), 8, false));
  recipe.train.capture = Capture::kAuto;
  recipe.model.unet2d.dropout = 0.2;
  state_after(recipe, initialized_network(recipe), 8, false);
}

TEST_P(TrainerGpuTest, AStoppedRunGoesOnBitForBit) {
  const RunFolder folder;
  RunConfig recipe = with_device_state(config("cuda"));
  recipe.train.steps = 20;
  Trainer straight(recipe, initialized_network(recipe), tiny_images(), folder / "straight");
  straight.run();

  TrainerHooks stop;
  stop.poll = [calls = 0]() mutable {
    return ++calls == 11 ? StopRequest::kStop : StopRequest::kNone;
  };
  Trainer(recipe, initialized_network(recipe), tiny_images(), folder / "stopped", stop).run();
  Trainer resumed(recipe, initialized_network(recipe), tiny_images(), folder / "stopped");
  resumed.resume(read_checkpoint(find_checkpoint(folder / "stopped")->entry.folder));
  EXPECT_EQ(resumed.step(), 11);
  resumed.run();

  expect_same_state(resumed.checkpoint_contents(), straight.checkpoint_contents());
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
