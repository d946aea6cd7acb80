#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <numeric>
#include <vector>

#include "ddpm/data/augment.h"
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

}  // namespace
}  // namespace ddpm
