#include "ddpm/loss/training_loss.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "ddpm/diffusion/betas.h"
#include "ddpm/diffusion/forward_process.h"
#include "ddpm/loss/diffusion_loss.h"
#include "ddpm/loss/vlb.h"
#include "support/host_reads.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::host_reads;
using ::testing::IsEmpty;
using testing::tensors_near;
using ::testing::ThrowsMessage;

constexpr int64_t kTimesteps = 100;

NoiseSchedule learned_schedule() {
  NoiseSchedule s = make_schedule(make_linear_betas(kTimesteps, 1e-4, 0.2));
  s.variance = VarianceType::kLearnedRange;
  return s;
}

LossInputs answered_batch(const NoiseSchedule& s) {
  at::manual_seed(2);
  LossInputs in;
  in.x_start = at::randint(256, {3, 2, 4, 4}).to(at::kFloat) / 127.5 - 1;
  in.noise = at::randn_like(in.x_start);
  in.t = at::tensor({0, 3, 80}, at::kLong);
  in.x_t = q_sample(s, in.x_start, in.t, in.noise);
  in.output = at::randn({3, 4, 4, 4}).set_requires_grad(true);
  return in;
}

LossConfig loss_of(LossKind kind) {
  LossConfig config;
  config.kind = kind;
  return config;
}

Tensor gradient_of_output(const LossInputs& in, const Tensor& losses) {
  Tensor output = in.output;
  output.mutable_grad() = Tensor();
  losses.sum().backward();
  return output.grad().clone();
}

// [IDDPM Eq. 16]: L_simple trains the mean alone, lambda T L_t the variance alone.
TEST(TrainingLossTest, HybridGivesTheMeanItsL2AndTheVarianceItsShareOfTheBound) {
  const NoiseSchedule s = learned_schedule();
  const LossInputs in = answered_batch(s);
  for (const PredictionType prediction :
       {PredictionType::kEpsilon, PredictionType::kSample, PredictionType::kVelocity}) {
    const auto of = [&](LossKind kind) {
      return training_losses(loss_of(kind), s, prediction, {}, in);
    };
    LossInputs mean_part = in;
    mean_part.output = in.output.narrow(1, 0, 2);
    const ImageLosses l2 = training_losses(loss_of(LossKind::kL2), s, prediction, {}, mean_part);
    const ImageLosses vlb = of(LossKind::kVlb);
    const ImageLosses hybrid = of(LossKind::kHybrid);
    EXPECT_TRUE(tensors_near(hybrid.plain, l2.plain, 0));
    const Tensor expected = l2.objective + 0.001 * kTimesteps * vlb.objective;
    EXPECT_TRUE(tensors_near(hybrid.objective / expected, at::ones({3}), 1e-5));

    const Tensor of_l2 = gradient_of_output(in, l2.objective);
    const Tensor of_vlb = gradient_of_output(in, vlb.objective);
    const Tensor of_hybrid = gradient_of_output(in, hybrid.objective);
    EXPECT_TRUE(tensors_near(of_hybrid.narrow(1, 0, 2), of_l2.narrow(1, 0, 2), 0));
    EXPECT_TRUE(tensors_near(of_hybrid.narrow(1, 2, 2), 0.1 * of_vlb.narrow(1, 2, 2),
                             1e-5 * of_vlb.abs().max().item<double>()));
    EXPECT_GT(of_vlb.narrow(1, 0, 2).abs().max().item<double>(), 0);
  }
}

TEST(TrainingLossTest, RescaledKlIsTTimesTheTerm) {
  const NoiseSchedule s = learned_schedule();
  const LossInputs in = answered_batch(s);
  const Tensor term =
      vlb_term(s, in.x_start, in.x_t, in.t,
               reverse_gaussian(s, PredictionType::kVelocity, in.x_t, in.t, in.output));
  const auto of = [&](LossKind kind) {
    return training_losses(loss_of(kind), s, PredictionType::kVelocity, {}, in).objective;
  };
  EXPECT_TRUE(tensors_near(of(LossKind::kVlb), term, 0));
  EXPECT_TRUE(tensors_near(of(LossKind::kRescaledKl) / term, at::full({3}, 100.0f), 1e-4));
}

TEST(TrainingLossTest, WeightsFallOnTheDistanceAlone) {
  const NoiseSchedule s = learned_schedule();
  const LossInputs in = answered_batch(s);
  const Tensor weights = at::arange(kTimesteps).to(at::kFloat);
  const ImageLosses with =
      training_losses(loss_of(LossKind::kHybrid), s, PredictionType::kEpsilon, weights, in);
  const ImageLosses without =
      training_losses(loss_of(LossKind::kHybrid), s, PredictionType::kEpsilon, {}, in);
  const Tensor w = at::tensor({0.0f, 3.0f, 80.0f});
  EXPECT_TRUE(tensors_near(with.objective - without.objective, (w - 1) * with.plain, 1e-3));
  EXPECT_TRUE(tensors_near(with.plain, without.plain, 0));
}

TEST(TrainingLossTest, NothingIsReadOnTheHost) {
  const NoiseSchedule s = learned_schedule();
  const LossInputs in = answered_batch(s);
  for (const LossKind kind : {LossKind::kVlb, LossKind::kRescaledKl, LossKind::kHybrid}) {
    EXPECT_THAT(host_reads([&] {
                  training_losses(loss_of(kind), s, PredictionType::kVelocity, {}, in)
                      .objective.sum()
                      .backward();
                }),
                IsEmpty());
  }
}

TEST(TrainingLossTest, ALearnedVarianceNeedsItsChannels) {
  const NoiseSchedule s = learned_schedule();
  LossInputs in = answered_batch(s);
  in.output = in.output.narrow(1, 0, 2);
  for (const LossKind kind : {LossKind::kVlb, LossKind::kHybrid}) {
    EXPECT_THAT(
        [&] { training_losses(loss_of(kind), s, PredictionType::kEpsilon, {}, in); },
        ThrowsMessage<std::invalid_argument>(HasSubstr("expected [N, 4, H, W], got [3, 2")));
  }
}

}  // namespace
}  // namespace ddpm
