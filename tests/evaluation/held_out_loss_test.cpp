#include "ddpm/evaluation/held_out_loss.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>
#include <numeric>
#include <stdexcept>
#include <vector>

#include "ddpm/core/philox.h"
#include "ddpm/diffusion/forward_process.h"
#include "ddpm/diffusion/prediction.h"
#include "support/host_reads.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

constexpr int64_t kTimesteps = 40;

ImageSet random_images(int64_t count, int64_t side = 8) {
  at::manual_seed(3);
  return {.images = at::randint(256, {count, 1, side, side}, at::kLong).to(at::kByte),
          .labels = at::arange(count, at::kLong) % 4};
}

NoiseSchedule cosine_schedule(VarianceType variance = VarianceType::kFixedSmall) {
  DiffusionConfig config;
  config.schedule = ScheduleKind::kCosine;
  config.num_timesteps = kTimesteps;
  config.prediction = PredictionType::kVelocity;
  NoiseSchedule schedule = make_noise_schedule(config);
  schedule.variance = variance;
  return schedule;
}

/// A network that answers with zeros.
EvaluatedModel silent_model(PredictionType prediction = PredictionType::kEpsilon) {
  return {.schedule = cosine_schedule(),
          .prediction = prediction,
          .loss = {},
          .network = [](const Tensor& x_t, const Tensor&, const Tensor&) {
            return at::zeros_like(x_t);
          }};
}

/// The noise of every image at a draw.
Tensor noise_of(uint64_t seed, const ImageSet& set, int64_t draw) {
  std::vector<uint64_t> images(static_cast<size_t>(set.images.size(0)));
  std::iota(images.begin(), images.end(), 0);
  return normal_like_images({seed, RandomStream::kEvaluationNoise}, images,
                            static_cast<uint32_t>(draw), set.images.sizes().slice(1));
}

// E[noise^2] = 1, whatever t is.
TEST(HeldOutLossTest, AnAnswerOfZerosHasTheErrorOfTheNoiseItself) {
  const ImageSet set = random_images(200);
  const HeldOutLoss loss = held_out_loss(silent_model(), set, {.num_draws = 4});
  EXPECT_EQ(loss.num_images, 200);
  EXPECT_EQ(loss.num_draws, 4);
  EXPECT_NEAR(loss.eps_mse.mean, 1, 4 * loss.eps_mse.standard_error);
  // The variance of a mean of squares of 64 * 4 normals, over 200 images.
  EXPECT_NEAR(loss.eps_mse.standard_error, std::sqrt(2.0 / (64 * 4) / 200), 1e-3);
  for (const double quarter : loss.eps_mse.quarter_means) EXPECT_NEAR(quarter, 1, 0.05);
  EXPECT_EQ(loss.objective.mean, loss.eps_mse.mean);
  EXPECT_EQ(loss.plain.mean, loss.eps_mse.mean);
}

TEST(HeldOutLossTest, IsTheMeanOfTheSquaresOfItsPhiloxNoise) {
  const ImageSet set = random_images(5);
  const HeldOutLoss loss =
      held_out_loss(silent_model(), set, {.num_draws = 3, .batch_size = 2, .seed = 9});
  Tensor sum = at::zeros({5}, at::kDouble);
  for (int64_t draw = 0; draw < 3; ++draw) {
    sum += noise_of(9, set, draw).to(at::kDouble).square().mean({1, 2, 3});
  }
  EXPECT_TRUE(testing::tensors_near(loss.eps_mse.of_image, sum / 3, 1e-6));
  EXPECT_NEAR(loss.eps_mse.mean, sum.mean().item<double>() / 3, 1e-6);
  EXPECT_NEAR(loss.eps_mse.standard_error, (sum / 3).std().item<double>() / std::sqrt(5.0), 1e-6);
}

TEST(HeldOutLossTest, DoesNotDependOnTheBatch) {
  const ImageSet set = random_images(23);
  EvaluatedModel model = silent_model(PredictionType::kVelocity);
  model.network = [](const Tensor& x_t, const Tensor& t, const Tensor& labels) {
    return x_t * (t + labels).view({-1, 1, 1, 1}) / 50;
  };
  const HeldOutLoss whole = held_out_loss(model, set, {.num_draws = 5, .batch_size = 23});
  for (const int64_t batch_size : {1, 7}) {
    const HeldOutLoss parts = held_out_loss(model, set, {.num_draws = 5, .batch_size = batch_size});
    EXPECT_TRUE(testing::tensors_near(parts.eps_mse.of_image, whole.eps_mse.of_image, 1e-6));
    EXPECT_NEAR(parts.objective.mean, whole.objective.mean, 1e-6);
  }
}

TEST(HeldOutLossTest, EachImageTakesATimestepFromEachPart) {
  const HeldOutOptions options{.num_draws = 8};
  const Tensor t = held_out_timesteps(options, kTimesteps, 0, 500);
  for (int64_t draw = 0; draw < 8; ++draw) {
    EXPECT_EQ(t[draw].min().item<int64_t>(), 5 * draw);
    EXPECT_EQ(t[draw].max().item<int64_t>(), 5 * draw + 4);
  }
  EXPECT_TRUE(at::equal(held_out_timesteps(options, kTimesteps, 200, 100), t.slice(1, 200, 300)));
  const Tensor every = held_out_timesteps({.num_draws = kTimesteps}, kTimesteps, 0, 3);
  EXPECT_TRUE(at::equal(every, at::arange(kTimesteps, at::kLong).unsqueeze(1).expand({-1, 3})));
}

TEST(HeldOutLossTest, AModelOfMoreTimestepsSeesTheSamePlaces) {
  const HeldOutOptions options{.num_draws = 4, .seed = 5};
  const Tensor coarse = held_out_timesteps(options, 100, 0, 50);
  const Tensor fine = held_out_timesteps(options, 1000, 0, 50);
  EXPECT_TRUE(at::equal(at::floor_divide(fine, 10), coarse));
}

/// The network that knows x_start, as `prediction` says it, off by `error` times the noise in eps.
LabelledNetwork knowing_network(const NoiseSchedule& schedule, PredictionType prediction,
                                const Tensor& x_start, double error) {
  return [=](const Tensor& x_t, const Tensor& t, const Tensor&) {
    const Tensor eps = predict_eps(schedule, PredictionType::kSample, x_t, t, x_start);
    const Tensor wrong_eps = eps * (1 + error);
    const Tensor wrong_x_start =
        (x_t - gather_at(schedule.sqrt_one_minus_alphas_cumprod, t, x_t) * wrong_eps) /
        gather_at(schedule.sqrt_alphas_cumprod, t, x_t);
    return training_target(schedule, prediction, wrong_x_start, t, wrong_eps);
  };
}

// (eps (1 + e) - eps)^2 = e^2 eps^2, whatever the network is asked for.
TEST(HeldOutLossTest, TheErrorOfEpsComparesModelsOfAnyPrediction) {
  const ImageSet set = random_images(16);
  const Tensor x_start = set.images.to(at::kFloat) / 127.5 - 1;
  const HeldOutOptions options{.num_draws = 6, .batch_size = 16};
  const double noise = held_out_loss(silent_model(), set, options).eps_mse.mean;
  for (const PredictionType prediction : {PredictionType::kEpsilon, PredictionType::kSample,
                                          PredictionType::kVelocity, PredictionType::kEdm}) {
    EvaluatedModel model = silent_model(prediction);
    model.network = knowing_network(model.schedule, prediction, x_start, 0.5);
    const HeldOutLoss loss = held_out_loss(model, set, options);
    EXPECT_NEAR(loss.eps_mse.mean, 0.25 * noise, 1e-4) << enum_word(prediction);
  }
}

TEST(HeldOutLossTest, TheObjectiveIsWeightedAndThePlainLossIsNot) {
  const ImageSet set = random_images(10);
  EvaluatedModel model = silent_model(PredictionType::kVelocity);
  const HeldOutLoss unweighted = held_out_loss(model, set, {});
  model.loss.weighting = LossWeighting::kMinSnr;
  const HeldOutLoss weighted = held_out_loss(model, set, {});
  EXPECT_EQ(weighted.plain.mean, unweighted.plain.mean);
  EXPECT_EQ(unweighted.objective.mean, unweighted.plain.mean);
  EXPECT_NE(weighted.objective.mean, weighted.plain.mean);
}

TEST(HeldOutLossTest, ALearnedVarianceIsLeftOutOfTheErrorOfEps) {
  const ImageSet set = random_images(4);
  EvaluatedModel model = silent_model();
  model.schedule = cosine_schedule(VarianceType::kLearnedRange);
  model.loss.kind = LossKind::kHybrid;
  model.network = [](const Tensor& x_t, const Tensor&, const Tensor&) {
    return at::cat({at::zeros_like(x_t), at::ones_like(x_t)}, 1);
  };
  const HeldOutLoss loss = held_out_loss(model, set, {});
  EXPECT_EQ(loss.eps_mse.mean, held_out_loss(silent_model(), set, {}).eps_mse.mean);
  EXPECT_GT(loss.objective.mean, loss.plain.mean);  // the bound's share
}

TEST(HeldOutLossTest, AQuarterWithoutDrawsHasNoMean) {
  const HeldOutLoss loss = held_out_loss(silent_model(), random_images(2), {.num_draws = 1});
  int64_t known = 0;
  for (const double quarter : loss.eps_mse.quarter_means) known += std::isnan(quarter) ? 0 : 1;
  EXPECT_GE(known, 1);
  EXPECT_LE(known, 2);
}

TEST(HeldOutLossTest, ThePairedDifferenceIsOfImages) {
  LossEstimate a, b;
  a.of_image = at::tensor({1.0, 2.0, 6.0}, at::kDouble);
  b.of_image = at::tensor({0.0, 2.0, 3.0}, at::kDouble);
  const PairedDifference difference = paired_difference(a, b);
  EXPECT_DOUBLE_EQ(difference.mean, 4.0 / 3);
  // 1, 0, 3: variance 7/3.
  EXPECT_DOUBLE_EQ(difference.standard_error, std::sqrt(7.0 / 3 / 3));
  b.of_image = b.of_image.slice(0, 0, 2);
  EXPECT_THROW(paired_difference(a, b), std::invalid_argument);
}

TEST(HeldOutLossTest, NothingInTheLoopWaitsForTheDevice) {
  const ImageSet set = random_images(6);
  const auto reads_with = [&](int64_t draws) {
    return testing::host_reads(
               [&] { held_out_loss(silent_model(), set, {.num_draws = draws, .batch_size = 2}); })
        .size();
  };
  EXPECT_EQ(reads_with(4), reads_with(20));
}

TEST(HeldOutLossTest, RefusesTooFewImagesAndTooManyDraws) {
  const EvaluatedModel model = silent_model();
  EXPECT_THROW(held_out_loss(model, random_images(1), {}), std::invalid_argument);
  EXPECT_THROW(held_out_loss(model, random_images(2), {.num_draws = 0}), std::invalid_argument);
  EXPECT_THROW(held_out_loss(model, random_images(2), {.num_draws = kTimesteps + 1}),
               std::invalid_argument);
  EXPECT_THROW(held_out_loss(model, random_images(2), {.batch_size = 0}), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
