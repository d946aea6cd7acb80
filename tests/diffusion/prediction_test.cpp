#include "ddpm/diffusion/prediction.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "ddpm/diffusion/betas.h"
#include "ddpm/diffusion/forward_process.h"
#include "diffusion/schedules.h"
#include "support/host_reads.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::every_schedule;
using ::testing::HasSubstr;
using testing::host_reads;
using ::testing::IsEmpty;
using testing::name_of;
using testing::tensors_near;
using ::testing::ThrowsMessage;

constexpr PredictionType kEveryPrediction[] = {PredictionType::kEpsilon, PredictionType::kSample,
                                               PredictionType::kVelocity, PredictionType::kEdm};

class PredictionTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(0); }

  NoiseSchedule schedule_ = make_schedule(make_linear_betas(1000, 1e-4, 0.02));
};

TEST_F(PredictionTest, TargetLeadsBackToXStartAndNoiseForEverySchedule) {
  for (const DiffusionConfig& config : every_schedule(100)) {
    const NoiseSchedule s = make_noise_schedule(config);
    const auto t = at::arange(100, at::kLong);
    const auto x_start = at::rand({100, 2, 3, 3}, at::kDouble) * 2 - 1;
    const auto noise = at::randn_like(x_start);
    const auto x_t = q_sample(s, x_start, t, noise);
    for (const PredictionType prediction : kEveryPrediction) {
      SCOPED_TRACE(name_of(config) + ", prediction " +
                   std::to_string(static_cast<int>(prediction)));
      const auto target = training_target(s, prediction, x_start, t, noise);
      EXPECT_TRUE(tensors_near(predict_eps(s, prediction, x_t, t, target), noise, 1e-9));
      if (s.zero_terminal_snr && prediction == PredictionType::kEpsilon) continue;
      // sqrt(1 / alpha_bar) reaches 1e4 for the steepest of these schedules.
      EXPECT_TRUE(tensors_near(predict_x_start(s, prediction, x_t, t, target), x_start, 1e-8));
    }
  }
}

// Any output, not only a perfect one: x_t = sqrt(alpha_bar) x_start + sqrt(1 - alpha_bar) eps must
// hold for what is predicted.
TEST_F(PredictionTest, PredictedXStartAndEpsAlwaysMakeXT) {
  for (int trial = 0; trial < 50; ++trial) {
    const auto t = at::randint(0, 1000, {8}, at::kLong);
    const auto x_t = at::randn({8, 1, 2, 2}, at::kDouble) * 2;
    const auto output = at::randn_like(x_t);
    for (const PredictionType prediction : kEveryPrediction) {
      const auto x_start = predict_x_start(schedule_, prediction, x_t, t, output);
      const auto eps = predict_eps(schedule_, prediction, x_t, t, output);
      EXPECT_TRUE(tensors_near(q_sample(schedule_, x_start, t, eps), x_t, 1e-11));
    }
  }
}

TEST_F(PredictionTest, VelocityIsTheDerivativeAlongTheAngle) {
  // With alpha_bar = cos^2(phi), x = cos(phi) x_start + sin(phi) noise and v = dx / dphi.
  const auto x_start = at::full({1}, 0.3, at::kDouble);
  const auto noise = at::full({1}, -1.1, at::kDouble);
  const auto t = at::full({1}, 500, at::kLong);
  const double phi = std::acos(schedule_.sqrt_alphas_cumprod[500].item<double>());
  const auto x_at = [](double angle) { return std::cos(angle) * 0.3 - std::sin(angle) * 1.1; };
  const double derivative = (x_at(phi + 1e-6) - x_at(phi - 1e-6)) / 2e-6;
  EXPECT_NEAR(velocity(schedule_, x_start, t, noise).item<double>(), derivative, 1e-9);
}

TEST_F(PredictionTest, Float32XStartFromEpsIsGoodTo1e4) {
  const auto x_start = at::rand({4, 3, 8, 8}) * 2 - 1;
  const auto noise = at::randn_like(x_start);
  const auto t = at::tensor({0, 10, 500, 999}, at::kLong);
  const auto x_t = q_sample(schedule_, x_start, t, noise);
  // At t = 999 the signal is scaled by 0.0064, so float32 rounding grows about 160-fold.
  const auto x_start_again = predict_x_start(schedule_, PredictionType::kEpsilon, x_t, t, noise);
  EXPECT_EQ(x_start_again.scalar_type(), at::kFloat);
  EXPECT_TRUE(tensors_near(x_start_again, x_start, 1e-4));
}

TEST_F(PredictionTest, ZeroTerminalSnrTurnsVelocityIntoMinusXStart) {
  const NoiseSchedule s =
      make_schedule(rescale_zero_terminal_snr(make_linear_betas(1000, 1e-4, 0.02)));
  const auto x_start = at::rand({1, 1, 2, 2}) * 2 - 1;
  const auto noise = at::randn_like(x_start);
  const auto t = at::full({1}, 999, at::kLong);
  const auto x_t = q_sample(s, x_start, t, noise);
  EXPECT_TRUE(at::equal(x_t, noise));  // no signal is left
  const auto v = velocity(s, x_start, t, noise);
  EXPECT_TRUE(tensors_near(v, -x_start, 0));
  EXPECT_TRUE(tensors_near(predict_eps(s, PredictionType::kVelocity, x_t, t, v), noise, 0));
  EXPECT_TRUE(tensors_near(predict_eps(s, PredictionType::kSample, x_t, t, x_start), noise, 0));
  EXPECT_TRUE(tensors_near(predict_x_start(s, PredictionType::kVelocity, x_t, t, v), x_start, 0));
  EXPECT_THAT([&] { predict_x_start(s, PredictionType::kEpsilon, x_t, t, noise); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("got epsilon")));
}

TEST_F(PredictionTest, NothingIsReadOnTheHost) {
  const auto x = at::zeros({2, 3, 4, 4});
  const auto t = at::zeros({2}, at::kLong);
  for (const PredictionType prediction : kEveryPrediction) {
    EXPECT_THAT(host_reads([&] {
                  training_target(schedule_, prediction, x, t, x);
                  predict_x_start(schedule_, prediction, x, t, x);
                  predict_eps(schedule_, prediction, x, t, x);
                }),
                IsEmpty());
  }
}

TEST_F(PredictionTest, ErrorsNameTheFunctionAndTheTensor) {
  const auto x = at::zeros({2, 1, 2, 2});
  const auto other = at::zeros({2, 1, 2, 3});
  const auto t = at::zeros({2}, at::kLong);
  const auto prediction = PredictionType::kSample;
  EXPECT_THAT([&] { predict_x_start(schedule_, prediction, x, t, other); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("[predict_x_start] output")));
  EXPECT_THAT([&] { predict_eps(schedule_, prediction, x, t, other); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("[predict_eps] output")));
  EXPECT_THAT([&] { training_target(schedule_, prediction, x, t, other); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("[training_target] noise")));
  EXPECT_THAT([&] { velocity(schedule_, x.to(at::kHalf), t, x); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("half precision")));
}

TEST_F(PredictionTest, SelfConditionIsTheClippedGuessWithoutGradient) {
  const NoiseSchedule s = make_schedule(make_linear_betas(1000, 1e-4, 0.02));
  at::manual_seed(0);
  const auto x_t = at::randn({2, 3, 4, 4});
  const auto t = at::tensor({3, 900}, at::kLong);
  const auto output = at::randn({2, 6, 4, 4}).set_requires_grad(true);
  const auto guess = self_condition(s, PredictionType::kEpsilon, x_t, t, output);
  EXPECT_FALSE(guess.requires_grad());
  const auto unclipped =
      predict_x_start(s, PredictionType::kEpsilon, x_t, t, output.detach().narrow(1, 0, 3));
  EXPECT_TRUE(tensors_near(guess, unclipped.clamp(-1, 1), 0));
  EXPECT_GT(unclipped.abs().max().item<float>(), 1);
  EXPECT_THROW(self_condition(s, PredictionType::kEpsilon, x_t, t, output.narrow(1, 0, 4)),
               std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
