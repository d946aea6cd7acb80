#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "ddpm/data/batch_loader.h"
#include "ddpm/training/step_inputs.h"
#include "training/training_fixtures.h"

namespace ddpm {
namespace {

using testing::resolved;
using testing::tiny_config;
using testing::tiny_images;

RunConfig everything_drawn() {
  RunConfig config = tiny_config();
  config.train.class_conditional = true;
  config.train.class_dropout = 0.3;
  config.train.offset_noise = 0.1;
  config.train.input_perturbation = 0.1;
  config.data.horizontal_flip = true;
  config.augment.enabled = true;
  config.augment.x_flip = false;  // the data's flips are there already
  return resolved(config);
}

// The host fills the buffers of steps that the device comes to much later.
TEST(StepInputsGpuTest, AStepReadsTheInputsThatTheCpuHas) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const RunConfig config = everything_drawn();
  const at::Device gpu(at::kCUDA, 0);
  StepInputs inputs = make_step_inputs(config, gpu);
  StepInputs expected = make_step_inputs(config, at::kCPU);
  BatchLoader loader(tiny_images(), config.train.batch_size, /*seed=*/1, /*horizontal_flip=*/true,
                     /*prefetch=*/2, /*first_batch=*/0);
  constexpr Tensor StepInputs::*kInputs[] = {
      &StepInputs::images, &StepInputs::labels,      &StepInputs::flip,
      &StepInputs::noise,  &StepInputs::warp,        &StepInputs::augment_labels,
      &StepInputs::t,      &StepInputs::input_noise, &StepInputs::step,
      &StepInputs::lr,     &StepInputs::ema_decay};
  Tensor matrix = at::randn({2048, 2048}, at::TensorOptions(gpu));
  std::vector<std::vector<Tensor>> read, written;
  for (int64_t step = 0; step < 12; ++step) {
    const Batch batch = loader.next();
    fill_step_inputs(config, batch, step, inputs);
    fill_step_inputs(config, batch, step, expected);
    for (int i = 0; i < 8; ++i) matrix = at::tanh(at::mm(matrix, matrix));
    read.emplace_back();
    written.emplace_back();
    for (const auto input : kInputs) {
      read.back().push_back((inputs.*input).clone());
      written.back().push_back((expected.*input).clone());
    }
  }
  for (size_t step = 0; step < read.size(); ++step) {
    for (size_t i = 0; i < read[step].size(); ++i) {
      EXPECT_TRUE(at::equal(read[step][i].cpu(), written[step][i]))
          << "input " << i << " of step " << step;
      EXPECT_EQ(read[step][i].strides(), written[step][i].strides()) << i;
    }
  }
}

}  // namespace
}  // namespace ddpm
