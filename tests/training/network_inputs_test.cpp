#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "ddpm/data/augment.h"
#include "ddpm/pipeline/network_denoise_fn.h"
#include "ddpm/sampling/sampler.h"
#include "ddpm/training/preview.h"
#include "ddpm/training/train_step.h"
#include "support/tensor_matchers.h"
#include "training/training_fixtures.h"

namespace ddpm {
namespace {

using testing::initialized_network;
using testing::RecordingNetwork;
using testing::resolved;
using testing::tensors_near;
using testing::tiny_config;
using testing::tiny_images;

/// The first images of the set, one batch of them, none flipped.
Batch batch_of(const RunConfig& config) {
  const ImageSet set = tiny_images();
  Batch batch;
  batch.images = set.images.narrow(0, 0, config.train.batch_size).clone();
  batch.labels = set.labels.narrow(0, 0, config.train.batch_size).clone();
  batch.flip = at::zeros({config.train.batch_size}, at::kBool);
  return batch;
}

/// With so little noise that the network sees x_start.
RunConfig noiseless_config() {
  RunConfig config = tiny_config();
  config.diffusion.beta_start = config.diffusion.beta_end = 1e-12;
  return config;
}

std::shared_ptr<RecordingNetwork> seen_in_step(const RunConfig& config, int64_t step,
                                               int64_t in_channels = 1) {
  auto network = std::make_shared<RecordingNetwork>(in_channels);
  TrainStep train_step(config, network, at::kCPU);
  train_step.prepare(batch_of(config), step);
  train_step.run();
  return network;
}

std::vector<uint64_t> samples_of_step(const RunConfig& config, int64_t step) {
  std::vector<uint64_t> samples(static_cast<size_t>(config.train.batch_size));
  std::iota(samples.begin(), samples.end(), static_cast<uint64_t>(step * config.train.batch_size));
  return samples;
}

TEST(AugmentedTrainingTest, TheNetworkSeesTransformedImagesAndIsToldHow) {
  RunConfig config = noiseless_config();
  config.augment.enabled = true;
  config.augment.probability = 0.5;
  config.train.accumulation = 2;
  const int64_t step = 3;
  const auto network = seen_in_step(config, step);
  const AugmentParameters drawn =
      draw_augmentation(config.augment, config.train.seed, samples_of_step(config, step));
  const Tensor x_start = batch_of(config).images.to(at::kFloat) / 127.5 - 1;
  const Tensor expected = warp_images(x_start, source_matrices(drawn));
  EXPECT_FALSE(tensors_near(expected, x_start, 0.1));
  ASSERT_EQ(network->seen.size(), 2u);
  EXPECT_TRUE(tensors_near(at::cat(network->seen), expected, 2e-4));
  EXPECT_TRUE(
      at::equal(at::cat({network->labels[0].augment_labels, network->labels[1].augment_labels}),
                augment_labels(config.augment, drawn)));
  EXPECT_FALSE(network->labels[0].class_labels.defined());
}

TEST(AugmentedTrainingTest, AGuessIsMadeWithTheLabelsOfItsImages) {
  RunConfig config = noiseless_config();
  config.augment.enabled = true;
  config.train.self_conditioning = true;
  const auto network = seen_in_step(config, /*step=*/0, /*in_channels=*/2);
  ASSERT_EQ(network->labels.size(), 2u);
  EXPECT_TRUE(at::equal(network->labels[0].augment_labels,
                        network->labels[1].augment_labels.narrow(0, 0, 4)));
}

TEST(AugmentedTrainingTest, TheEmbeddingOfTheLabelsIsTrained) {
  RunConfig config = tiny_config();
  config.augment.enabled = true;
  config = resolved(config);
  const auto network = initialized_network(config);
  const auto weight = [&] {
    return network->named_parameters()["augment_embedding.weight"].detach().clone();
  };
  const Tensor before = weight();
  EXPECT_EQ(before.size(1), 9);
  TrainStep train_step(config, network, at::kCPU);
  for (int64_t step = 0; step < 2; ++step) {
    train_step.prepare(batch_of(config), step);
    train_step.run();
  }
  // Not one number's column stays: with 16 images each kind but perhaps a flip has been applied.
  EXPECT_GE((weight() != before).any(0).sum().item<int64_t>(), 6);
}

/// Reduced by means of 2 x 2, then enlarged between the centres of pixels: along each axis a pixel
/// is 3/4 of the one it lies in and 1/4 of the nearest other one, which at the edge is itself.
Tensor down_and_up(const Tensor& images) {
  const int64_t n = images.size(0), c = images.size(1), side = images.size(2) / 2;
  const Tensor small = images.view({n, c, side, 2, side, 2}).mean(at::IntArrayRef{3, 5});
  const auto along = [](const Tensor& x, int64_t dim) {
    const int64_t size = x.size(dim);
    const Tensor before = at::cat({x.narrow(dim, 0, 1), x.narrow(dim, 0, size - 1)}, dim);
    const Tensor after = at::cat({x.narrow(dim, 1, size - 1), x.narrow(dim, size - 1, 1)}, dim);
    return at::stack({0.75 * x + 0.25 * before, 0.75 * x + 0.25 * after}, dim + 1)
        .flatten(dim, dim + 1);
  };
  return along(along(small, 2), 3);
}

TEST(SuperResolutionTrainingTest, TheNetworkSeesTheImageReducedAndEnlargedAgain) {
  RunConfig config = tiny_config();
  config.train.super_resolution = 2;
  const auto network = seen_in_step(config, /*step=*/0, /*in_channels=*/2);
  const Tensor x_start = batch_of(config).images.to(at::kFloat) / 127.5 - 1;
  ASSERT_EQ(network->seen.size(), 1u);
  const Tensor& seen = network->seen[0];
  ASSERT_EQ(seen.sizes(), at::IntArrayRef({8, 2, 8, 8}));
  EXPECT_TRUE(tensors_near(seen.narrow(1, 1, 1), down_and_up(x_start), 1e-6));
  config.train.super_resolution = 0;
  EXPECT_TRUE(at::equal(seen.narrow(1, 0, 1), seen_in_step(config, 0)->seen[0]));  // x_t
}

TEST(SuperResolutionTrainingTest, TheGuessStandsBeforeTheLowResolution) {
  RunConfig config = tiny_config();
  config.diffusion.prediction = PredictionType::kSample;
  config.train.super_resolution = 2;
  config.train.self_conditioning = true;
  const auto network = seen_in_step(config, /*step=*/0, /*in_channels=*/3);
  const Tensor low = down_and_up(batch_of(config).images.to(at::kFloat) / 127.5 - 1);
  ASSERT_EQ(network->seen.size(), 2u);
  EXPECT_TRUE(tensors_near(network->seen[0].select(1, 2), low.select(1, 0).narrow(0, 0, 4), 1e-6));
  EXPECT_EQ(network->seen[0].select(1, 1).abs().max().item<float>(), 0);
  EXPECT_TRUE(tensors_near(network->seen[1].select(1, 2), low.select(1, 0), 1e-6));
  EXPECT_TRUE(at::equal(network->seen[1].select(1, 1).narrow(0, 0, 4),
                        network->answers[0].select(1, 0).clamp(-1, 1)));
}

TEST(SuperResolutionTrainingTest, TheLowResolutionIsThatOfTheAugmentedImage) {
  RunConfig config = noiseless_config();
  config.train.super_resolution = 2;
  config.augment.enabled = true;
  config.augment.probability = 1;
  const Tensor seen = seen_in_step(config, /*step=*/0, /*in_channels=*/2)->seen[0];
  EXPECT_TRUE(
      tensors_near(seen.narrow(1, 1, 1), down_and_up(seen.narrow(1, 0, 1).contiguous()), 2e-4));
}

// Grey images of one level each: nothing but the low resolution tells which.
TEST(SuperResolutionTrainingTest, ANetworkLearnsToFollowTheLowResolution) {
  RunConfig config = tiny_config();
  config.diffusion.prediction = PredictionType::kSample;
  config.diffusion.schedule = ScheduleKind::kCosine;
  config.train.super_resolution = 4;
  config.train.batch_size = 16;
  config = resolved(config);
  const auto network = initialized_network(config);
  TrainStep train_step(config, network, at::kCPU);
  Batch batch;
  batch.labels = at::zeros({16}, at::kLong);
  batch.flip = at::zeros({16}, at::kBool);
  for (int64_t step = 0; step < 150; ++step) {
    const Tensor levels = at::arange(16).mul(17).add(step % 17).to(at::kByte);
    batch.images = levels.view({16, 1, 1, 1}).expand({16, 1, 8, 8}).contiguous();
    train_step.prepare(batch, step);
    train_step.run();
  }
  network->eval();
  const at::NoGradGuard no_grad;
  const Tensor wanted = at::linspace(-0.8, 0.8, 5).view({5, 1, 1, 1}).expand({5, 1, 8, 8});
  const NetworkView view{.schedule = train_step.schedule(),
                         .prediction = config.diffusion.prediction,
                         .super_resolution = 4,
                         .low_resolution = at::avg_pool2d(wanted, 4)};
  const Tensor drawn =
      sample(view.schedule, view.prediction, network_denoise_fn(network, view, at::kFloat),
             {.steps = 5}, {.num_images = 5, .image_shape = {1, 8, 8}});
  EXPECT_TRUE(tensors_near(drawn.mean(at::IntArrayRef{1, 2, 3}),
                           wanted.mean(at::IntArrayRef{1, 2, 3}), 0.15));
}

TEST(SuperResolutionTrainingTest, PreviewsEnlargeTheFirstImagesOfTheSet) {
  RunConfig config = tiny_config();
  config.train.super_resolution = 2;
  config.train.class_conditional = true;
  config.train.preview_images = 52;
  const ImageSet set = tiny_images();  // of 50
  const PreviewInputs inputs = preview_inputs(config, set, at::kCPU);
  const Tensor low = at::avg_pool2d(set.images.to(at::kFloat) / 127.5 - 1, 2);
  EXPECT_TRUE(tensors_near(inputs.low_resolution.narrow(0, 0, 50), low, 1e-6));
  EXPECT_TRUE(tensors_near(inputs.low_resolution.narrow(0, 50, 2), low.narrow(0, 0, 2), 1e-6));
  EXPECT_TRUE(at::equal(inputs.class_labels.narrow(0, 0, 50), set.labels));
  config.train.super_resolution = 0;
  EXPECT_FALSE(preview_inputs(config, set, at::kCPU).low_resolution.defined());
}

}  // namespace
}  // namespace ddpm
