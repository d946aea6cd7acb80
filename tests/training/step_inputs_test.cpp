#include "ddpm/training/step_inputs.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ddpm/training/ema_decay.h"
#include "ddpm/training/learning_rate.h"
#include "training/training_fixtures.h"

namespace ddpm {
namespace {

using testing::resolved;
using testing::tiny_config;

Batch grey_batch(int64_t count) {
  Batch batch;
  batch.images = at::full({count, 1, 8, 8}, 128, at::kByte);
  batch.labels = at::arange(count).remainder(8);
  batch.flip = at::zeros({count}, at::kBool);
  return batch;
}

TEST(StepInputsTest, StratifiedTimestepsComeOneFromEachPart) {
  RunConfig config = tiny_config();
  config.train.timestep_sampling = TimestepSampling::kStratified;
  config.train.batch_size = 25;  // parts of four timesteps
  int64_t in_order = 0;
  Tensor seen = at::zeros({100}, at::kLong);
  for (int64_t step = 0; step < 400; ++step) {
    const Tensor t = draw_timesteps(config, step);
    EXPECT_TRUE(at::equal(std::get<0>(t.sort()).div(4, "floor"), at::arange(25))) << step;
    in_order += (t.slice(0, 1) > t.slice(0, 0, -1)).sum().item<int64_t>();
    seen.index_add_(0, t, at::ones_like(t));
  }
  EXPECT_NEAR(static_cast<double>(in_order) / (400 * 24), 0.5, 0.03);  // shuffled
  EXPECT_GT(seen.min().item<int64_t>(), 60);                           // of 100 expected each
  EXPECT_LT(seen.max().item<int64_t>(), 140);
}

TEST(StepInputsTest, StratifiedCoversTimestepsThatTheBatchDoesNotDivide) {
  RunConfig config = tiny_config();
  config.diffusion.num_timesteps = 10;
  config.train.timestep_sampling = TimestepSampling::kStratified;
  config.train.batch_size = 3;
  Tensor seen = at::zeros({10}, at::kLong);
  for (int64_t step = 0; step < 2000; ++step) {
    const Tensor t = draw_timesteps(config, step);
    seen.index_add_(0, t, at::ones_like(t));
  }
  // 600 expected each, with a deviation of at most 25.
  EXPECT_GT(seen.min().item<int64_t>(), 500);
  EXPECT_LT(seen.max().item<int64_t>(), 700);
}

// [EDM Tab. 1]: log(sigma) ~ N(-1.2, 1.2^2), rounded to the schedule's levels.
TEST(StepInputsTest, LogNormalTimestepsHaveANormalLogSigma) {
  RunConfig config = tiny_config();
  config.diffusion.num_timesteps = 1000;
  config.diffusion.beta_end = 0.02;
  config.train.batch_size = 20'000;
  const Tensor log_sigmas = log_sigma_table(config.diffusion);
  EXPECT_NEAR(log_sigmas[999].item<double>(), std::log(157.4), 1e-3);
  const Tensor t = draw_log_normal_timesteps(config, 3, log_sigmas);
  const Tensor drawn = log_sigmas.index_select(0, t);
  EXPECT_NEAR(drawn.mean().item<double>(), -1.2, 0.03);
  EXPECT_NEAR(drawn.std().item<double>(), 1.2, 0.03);
  config.train.log_sigma_std = 0;  // the nearest level
  config.train.log_sigma_mean =
      0.4 * log_sigmas[7].item<double>() + 0.6 * log_sigmas[8].item<double>();
  EXPECT_TRUE((draw_log_normal_timesteps(config, 0, log_sigmas) == 8).all().item<bool>());
  config.train.log_sigma_mean = 100;
  EXPECT_TRUE((draw_log_normal_timesteps(config, 0, log_sigmas) == 999).all().item<bool>());
}

TEST(StepInputsTest, TheDroppedShareOfLabelsBecomesTheNullClass) {
  RunConfig config = tiny_config();
  config.train.batch_size = 2000;
  config.train.class_conditional = true;
  config.train.class_dropout = 0.2;
  config = resolved(config);
  EXPECT_EQ(config.model.unet2d.num_class_embeds, 9);  // eight kinds of shapes, and none
  EXPECT_EQ(config.null_class(), 8);
  const Batch batch = grey_batch(2000);
  StepInputs inputs = make_step_inputs(config, at::kCPU);
  fill_step_inputs(config, batch, 0, inputs);
  const Tensor dropped = inputs.labels == 8;
  EXPECT_NEAR(dropped.sum().item<double>() / 2000, 0.2, 0.03);
  EXPECT_TRUE(((inputs.labels == batch.labels) | dropped).all().item<bool>());
  const Tensor first = inputs.labels.clone();
  fill_step_inputs(config, batch, 1, inputs);
  EXPECT_FALSE(at::equal(inputs.labels, first));
  fill_step_inputs(config, batch, 0, inputs);
  EXPECT_TRUE(at::equal(inputs.labels, first));
}

TEST(StepInputsTest, OffsetNoiseIsSharedByAChannelsPixels) {
  RunConfig config = tiny_config();
  config.train.batch_size = 500;
  config.train.offset_noise = 2;
  StepInputs inputs = make_step_inputs(config, at::kCPU);
  fill_step_inputs(config, grey_batch(500), 0, inputs);
  const Tensor means = inputs.noise.mean({1, 2, 3});  // variance 4 + 1/64
  EXPECT_NEAR(means.std().item<double>(), std::sqrt(4 + 1.0 / 64), 0.25);
  const Tensor within = inputs.noise - means.view({-1, 1, 1, 1});
  EXPECT_NEAR(within.std().item<double>(), std::sqrt(63.0 / 64), 0.02);
  EXPECT_FALSE(inputs.input_noise.defined());
}

TEST(StepInputsTest, BuffersKeepTheirStorageAndHoldTheirStep) {
  RunConfig config = tiny_config();
  config.optimizer.warmup_steps = 10;
  config.train.input_perturbation = 0.1;
  const Batch batch = grey_batch(config.train.batch_size);
  StepInputs inputs = make_step_inputs(config, at::kCPU);
  fill_step_inputs(config, batch, 2, inputs);
  const StepInputs& same = inputs;
  const Tensor noise = same.noise, t = same.t, lr = same.lr, step = same.step;
  EXPECT_EQ(step.item<int64_t>(), 2);
  EXPECT_EQ(lr.item<double>(), learning_rate(config.optimizer, 2, config.train.steps));
  const Tensor first = noise.clone();
  fill_step_inputs(config, batch, 5, inputs);
  EXPECT_EQ(step.item<int64_t>(), 5);
  EXPECT_EQ(lr.item<double>(), learning_rate(config.optimizer, 5, config.train.steps));
  EXPECT_EQ(same.ema_decay.item<double>(), ema_decay(config.ema, 5));
  EXPECT_TRUE(at::equal(t, draw_timesteps(config, 5)));
  EXPECT_FALSE(at::equal(noise, first));
  EXPECT_EQ(noise.data_ptr(), same.noise.data_ptr());
  for (const Tensor& map : {same.noise, same.input_noise}) {
    EXPECT_TRUE(map.is_contiguous(at::MemoryFormat::ChannelsLast));
  }
}

TEST(StepInputsTest, AnotherBatchSizeIsRefused) {
  const RunConfig config = tiny_config();
  StepInputs inputs = make_step_inputs(config, at::kCPU);
  EXPECT_THROW(fill_step_inputs(config, grey_batch(7), 0, inputs), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
