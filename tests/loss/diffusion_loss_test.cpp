#include "ddpm/loss/diffusion_loss.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <stdexcept>
#include <utility>

#include "ddpm/diffusion/betas.h"
#include "ddpm/diffusion/forward_process.h"
#include "ddpm/diffusion/prediction.h"
#include "support/host_reads.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::host_reads;
using ::testing::IsEmpty;
using testing::tensors_near;
using ::testing::ThrowsMessage;

constexpr PredictionType kEveryPrediction[] = {PredictionType::kEpsilon, PredictionType::kSample,
                                               PredictionType::kVelocity};
constexpr LossKind kEveryLoss[] = {LossKind::kL1, LossKind::kL2, LossKind::kHuber};

LossConfig of_kind(LossKind kind) {
  LossConfig config;
  config.kind = kind;
  config.huber_delta = 0.5;
  return config;
}

NoiseSchedule linear() { return make_schedule(make_linear_betas(1000, 1e-4, 0.02)); }

TEST(DiffusionLossTest, LossesOfKnownResiduals) {
  // Residuals of image 0: 0, 0.25, -2, 1; of image 1: 0.5 four times. Huber's delta is 0.5.
  const auto target = at::zeros({2, 1, 2, 2});
  const auto prediction =
      at::tensor({0.0, 0.25, -2.0, 1.0, 0.5, 0.5, 0.5, 0.5}, at::kFloat).view({2, 1, 2, 2});
  const auto loss = [&](LossKind kind) {
    return loss_per_image(of_kind(kind), prediction, target);
  };
  EXPECT_TRUE(tensors_near(loss(LossKind::kL1), at::tensor({0.8125, 0.5}, at::kFloat), 1e-7));
  EXPECT_TRUE(tensors_near(loss(LossKind::kL2), at::tensor({1.265625, 0.25}, at::kFloat), 1e-7));
  // 0.25^2 / 2 = 0.03125, 0.5 * (2 - 0.25) = 0.875, 0.5 * (1 - 0.25) = 0.375; their mean with 0.
  EXPECT_TRUE(
      tensors_near(loss(LossKind::kHuber), at::tensor({0.3203125, 0.125}, at::kFloat), 1e-7));
}

TEST(DiffusionLossTest, GradientsAreThoseOfTheFormulas) {
  const auto target = at::zeros({1, 1, 1, 4});
  for (const LossKind kind : kEveryLoss) {
    auto prediction = at::tensor({0.25, -0.1, -2.0, 1.0}, at::kFloat).view({1, 1, 1, 4});
    prediction.set_requires_grad(true);
    loss_per_image(of_kind(kind), prediction, target).sum().backward();
    const auto r = prediction.detach();
    const auto expected = kind == LossKind::kL1   ? r.sign()
                          : kind == LossKind::kL2 ? 2 * r
                                                  : r.clamp(-0.5, 0.5);
    EXPECT_TRUE(tensors_near(prediction.grad(), expected / 4, 1e-7)) << static_cast<int>(kind);
  }
}

TEST(DiffusionLossTest, ReducesInFloat32WhateverTheNetworkReturns) {
  // 4096 squares of 1: a bfloat16 mean or residual would lose the 2^-9.
  const auto target = at::full({1, 1, 64, 64}, -0.001953125);
  const auto prediction = at::ones({1, 1, 64, 64}, at::kBFloat16);
  const auto loss = loss_per_image(of_kind(LossKind::kL2), prediction, target);
  EXPECT_EQ(loss.scalar_type(), at::kFloat);
  EXPECT_NEAR(loss.item<double>(), 1.001953125 * 1.001953125, 1e-6);
}

TEST(DiffusionLossTest, GradientReachesAHalfPrecisionPrediction) {
  auto prediction = at::ones({2, 3, 4, 4}, at::kBFloat16).set_requires_grad(true);
  loss_per_image({}, prediction, at::zeros({2, 3, 4, 4})).sum().backward();
  EXPECT_EQ(prediction.grad().scalar_type(), at::kBFloat16);
  EXPECT_TRUE(tensors_near(prediction.grad().to(at::kFloat), at::full({2, 3, 4, 4}, 2.0 / 48),
                           2e-4));  // bfloat16 keeps 8 bits
}

TEST(DiffusionLossTest, MemoryFormatDoesNotMatter) {
  at::manual_seed(0);
  const auto prediction = at::randn({2, 3, 8, 8});
  const auto target = at::randn({2, 3, 8, 8});
  const auto format = at::MemoryFormat::ChannelsLast;
  for (const LossKind kind : kEveryLoss) {
    EXPECT_TRUE(tensors_near(
        loss_per_image(of_kind(kind), prediction.contiguous(format), target.contiguous(format)),
        loss_per_image(of_kind(kind), prediction, target), 1e-6));
  }
}

TEST(DiffusionLossTest, NothingIsReadOnTheHost) {
  const NoiseSchedule s = linear();
  const auto x = at::zeros({2, 3, 4, 4}).set_requires_grad(true);
  const auto t = at::zeros({2}, at::kLong);
  LossConfig config;
  config.weighting = LossWeighting::kMinSnr;
  for (const LossKind kind : kEveryLoss) {
    config.kind = kind;
    for (const PredictionType prediction : kEveryPrediction) {
      EXPECT_THAT(host_reads([&] {
                    const auto loss = loss_per_image(config, x, at::ones_like(x));
                    (loss * loss_weight(config, prediction, s, t)).sum().backward();
                  }),
                  IsEmpty());
    }
  }
}

TEST(DiffusionLossTest, NoWeightingIsOne) {
  const auto t = at::tensor({0, 500, 999}, at::kLong);
  for (const PredictionType prediction : kEveryPrediction) {
    const auto weight = loss_weight({}, prediction, linear(), t);
    EXPECT_EQ(weight.scalar_type(), at::kFloat);
    EXPECT_TRUE(tensors_near(weight, at::ones({3}), 0));
  }
}

TEST(DiffusionLossTest, MinSnrWeightsHaveTheirClosedForms) {
  LossConfig config;
  config.weighting = LossWeighting::kMinSnr;
  config.min_snr_gamma = 5;
  const NoiseSchedule s = linear();
  for (const int64_t t : {0, 100, 500, 999}) {
    const double alpha_bar = s.alphas_cumprod[t].item<double>();
    const double snr = alpha_bar / (1 - alpha_bar);
    const auto weight = [&](PredictionType prediction) {
      return loss_weight(config, prediction, s, at::full({1}, t, at::kLong)).item<double>();
    };
    const double capped = std::min(snr, 5.0);
    EXPECT_NEAR(weight(PredictionType::kEpsilon) / (capped / snr), 1, 1e-6) << t;
    EXPECT_NEAR(weight(PredictionType::kSample) / capped, 1, 1e-6) << t;
    EXPECT_NEAR(weight(PredictionType::kVelocity) / (capped / (snr + 1)), 1, 1e-6) << t;
  }
}

TEST(DiffusionLossTest, WeightsOfEachNameHaveTheirClosedForms) {
  LossConfig config;
  config.min_snr_gamma = 4;
  config.p2_k = 2;
  config.p2_gamma = 0.5;
  const NoiseSchedule s = linear();
  for (const int64_t t : {0, 100, 200, 999}) {
    const double alpha_bar = s.alphas_cumprod[t].item<double>();
    const double snr = alpha_bar / (1 - alpha_bar);
    const std::pair<LossWeighting, double> of_x_start[] = {
        {LossWeighting::kSoftMinSnr, 1 / (1 / snr + 0.25)},
        {LossWeighting::kP2, snr / std::sqrt(2 + snr)},
        {LossWeighting::kSnr, snr},
        {LossWeighting::kTruncatedSnr, std::max(snr, 1.0)},
        {LossWeighting::kSnrPlusOne, 1 / (1 - alpha_bar)},
        {LossWeighting::kConstant, 1}};
    for (const auto& [weighting, weight] : of_x_start) {
      config.weighting = weighting;
      const auto got = [&](PredictionType prediction) {
        return loss_weight_table(config, prediction, s)[t].item<double>();
      };
      EXPECT_NEAR(got(PredictionType::kSample) / weight, 1, 1e-6) << enum_word(weighting) << t;
      EXPECT_NEAR(got(PredictionType::kEpsilon) * snr / weight, 1, 1e-6) << enum_word(weighting);
      EXPECT_NEAR(got(PredictionType::kVelocity) * (snr + 1) / weight, 1, 1e-6)
          << enum_word(weighting);
    }
  }
}

// [EDM Tab. 1]: an error of F is one of x_start over c_out, lambda = (sigma^2 + s^2) / (sigma s)^2.
TEST(DiffusionLossTest, EdmsOwnLossWeighsXStartByLambda) {
  LossConfig config;
  config.weighting = LossWeighting::kConstant;
  NoiseSchedule s = linear();
  s.sigma_data = 0.6;
  for (const int64_t t : {0, 300, 999}) {
    const double sigma2 = 1 / s.snr[t].item<double>();
    const double lambda = (sigma2 + 0.36) / (sigma2 * 0.36);
    EXPECT_NEAR(loss_weight_table(config, PredictionType::kEdm, s)[t].item<double>() * lambda, 1,
                1e-6);
  }
}

// Each prediction's own loss is one of the named weightings.
TEST(DiffusionLossTest, ThePlainLossesAreSnrConstantAndSnrPlusOne) {
  const auto weights = [](LossWeighting weighting, PredictionType prediction) {
    LossConfig config;
    config.weighting = weighting;
    return loss_weight_table(config, prediction, linear());
  };
  const Tensor ones = at::ones({1000});
  EXPECT_TRUE(tensors_near(weights(LossWeighting::kSnr, PredictionType::kEpsilon), ones, 0));
  EXPECT_TRUE(tensors_near(weights(LossWeighting::kConstant, PredictionType::kSample), ones, 0));
  EXPECT_TRUE(
      tensors_near(weights(LossWeighting::kSnrPlusOne, PredictionType::kVelocity), ones, 0));
}

TEST(DiffusionLossTest, ABoundIsNoDistance) {
  EXPECT_THAT(
      [] {
        loss_per_image(of_kind(LossKind::kHybrid), at::zeros({2, 3}), at::zeros({2, 3}));
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("got hybrid")));
}

// The weights exist so that one error of x_0 costs the same in all three parameterisations.
TEST(DiffusionLossTest, MinSnrWeightedSquaredErrorIsTheSameForEveryPrediction) {
  at::manual_seed(0);
  LossConfig config;
  config.weighting = LossWeighting::kMinSnr;
  const NoiseSchedule s = linear();
  const auto t = at::tensor({20, 300, 700}, at::kLong);
  const auto x_start = at::rand({3, 1, 4, 4}, at::kDouble) * 2 - 1;
  const auto noise = at::randn_like(x_start);
  const auto x_t = q_sample(s, x_start, t, noise);
  const auto guess = x_start + 0.1 * at::randn_like(x_start);  // some network's x_0
  const auto eps = predict_eps(s, PredictionType::kSample, x_t, t, guess);
  const auto loss = [&](PredictionType prediction, const Tensor& output) {
    const auto target = training_target(s, prediction, x_start, t, noise);
    return loss_weight(config, prediction, s, t) * loss_per_image(config, output, target);
  };
  const auto expected = loss(PredictionType::kSample, guess);
  EXPECT_TRUE(tensors_near(loss(PredictionType::kEpsilon, eps) / expected, at::ones({3}), 1e-4));
  EXPECT_TRUE(tensors_near(loss(PredictionType::kVelocity, velocity(s, guess, t, eps)) / expected,
                           at::ones({3}), 1e-4));
}

TEST(DiffusionLossTest, MinSnrWeightsAreFiniteWhereTheSignalIsZero) {
  LossConfig config;
  config.weighting = LossWeighting::kMinSnr;
  const NoiseSchedule s = make_schedule(make_jsd_betas(10));
  const auto last = [&](PredictionType prediction) {
    return loss_weight_table(config, prediction, s)[9].item<double>();
  };
  EXPECT_EQ(last(PredictionType::kEpsilon), 1.0);
  EXPECT_EQ(last(PredictionType::kSample), 0.0);
  EXPECT_EQ(last(PredictionType::kVelocity), 0.0);
}

TEST(DiffusionLossTest, AnotherShapeIsRefused) {
  EXPECT_THAT(
      [] {
        loss_per_image({}, at::zeros({2, 6, 4, 4}), at::zeros({2, 3, 4, 4}));
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("got [2, 6, 4, 4]")));
}

}  // namespace
}  // namespace ddpm
