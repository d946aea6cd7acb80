#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ddpm/evaluation/extract_features.h"
#include "ddpm/evaluation/feature_statistics.h"
#include "ddpm/evaluation/frechet_distance.h"
#include "ddpm/evaluation/held_out_loss.h"
#include "ddpm/evaluation/kernel_distance.h"
#include "ddpm/evaluation/variational_bound.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

ImageSet random_pixels(int64_t count) {
  at::manual_seed(1);
  return {.images = at::randint(256, {count, 3, 8, 8}, at::kLong).to(at::kByte),
          .labels = at::arange(count, at::kLong)};
}

EvaluatedModel model_on(at::Device device) {
  const LabelledNetwork network = [](const Tensor& x_t, const Tensor& t, const Tensor& labels) {
    return x_t * 0.5 + (t + labels).view({-1, 1, 1, 1}) * 1e-3;
  };
  return {.schedule = make_noise_schedule({}).to(device),
          .prediction = PredictionType::kEpsilon,
          .loss = {},
          .network = network};
}

HeldOutLoss loss_on(at::Device device, const ImageSet& set) {
  return held_out_loss(model_on(device), set, {.num_draws = 4, .batch_size = 7});
}

VariationalBound bound_on(at::Device device, const ImageSet& set) {
  return variational_bound(model_on(device), set, {.num_draws = 4, .batch_size = 7});
}

TEST(EvaluationGpuTest, LossesEqualThoseOfTheCpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const ImageSet set = random_pixels(40);
  const HeldOutLoss cpu = loss_on(at::kCPU, set), gpu = loss_on(at::kCUDA, set);
  EXPECT_TRUE(testing::tensors_near(gpu.eps_mse.of_image, cpu.eps_mse.of_image, 1e-6));
  EXPECT_NEAR(gpu.objective.mean, cpu.objective.mean, 1e-6);
  EXPECT_EQ(gpu.objective.of_image.device(), at::Device(at::kCPU));
}

TEST(EvaluationGpuTest, BoundsEqualThoseOfTheCpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const ImageSet set = random_pixels(40);
  const VariationalBound cpu = bound_on(at::kCPU, set), gpu = bound_on(at::kCUDA, set);
  EXPECT_NEAR(gpu.bits_per_dim / cpu.bits_per_dim, 1, 1e-4);
  EXPECT_NEAR(gpu.prior, cpu.prior, 1e-6);
  EXPECT_NEAR(gpu.first_term / cpu.first_term, 1, 1e-4);
}

TEST(EvaluationGpuTest, DistancesEqualThoseOfTheCpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const FeatureFn pooled = [](const Tensor& images) { return images.mean(/*dim=*/3).flatten(1); };
  const Tensor images = random_pixels(120).images;
  double distance[2], kernel[2];
  int side = 0;
  for (const at::Device device : {at::Device(at::kCPU), at::Device(at::kCUDA)}) {
    const Tensor features = extract_features(pooled, images, {.batch_size = 32, .device = device});
    EXPECT_EQ(features.device().type(), device.type());
    const Tensor others = features * 1.1 + 0.05;
    FeatureStatistics a, b;
    for (const Tensor& batch : features.split(50)) a.add(batch);
    b.add(others);
    distance[side] = frechet_distance(a.moments(), b.moments()).distance;
    kernel[side++] = kernel_distance(features, others, {.num_subsets = 5, .subset_size = 60}).mean;
  }
  EXPECT_NEAR(distance[1] / distance[0], 1, 1e-5);
  EXPECT_NEAR(kernel[1], kernel[0], 1e-7);
}

}  // namespace
}  // namespace ddpm
