#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include "ddpm/diffusion/prediction.h"
#include "ddpm/sampling/sampler.h"
#include "ddpm/sampling/sampler_state.h"
#include "sampling/analytic_data.h"
#include "sampling/sampler_cases.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::long_schedule;
using testing::tensors_near;
using testing::two_bells;

/// The exact network of two_bells, as a network of whole timesteps.
DenoiseFn bells_network(PredictionType prediction) {
  const NoiseSchedule schedule = long_schedule();
  return testing::as_prediction(schedule, prediction, [](const Tensor& x_t, const Tensor& t) {
    static const LevelTable table = make_level_table(long_schedule());
    const NoiseLevel level = level_at_timestep(table, t[0].item<double>());
    return two_bells().expected_x_start(x_t.to(at::kDouble), level).to(x_t.scalar_type());
  });
}

double round_trip_error(PredictionType prediction, int64_t steps) {
  const Tensor images = at::linspace(-0.9, 0.9, 12, at::kFloat).view({3, 1, 2, 2});
  const SamplerOptions options{.kind = SamplerKind::kDdim, .steps = steps, .clip = X0Clip::kNone};
  const NoiseSchedule schedule = long_schedule();
  const DenoiseFn network = bells_network(prediction);
  const Tensor x_T = encode(schedule, prediction, network, options, images);
  const auto plan = make_sampler_plan(schedule, prediction, options);
  return (run_plan(plan, options, network, x_T) - images).abs().max().item<double>();
}

TEST(SamplerInversionTest, EncodingThenDrawingGivesTheImagesBackWithMoreStepsBetter) {
  for (const PredictionType prediction :
       {PredictionType::kEpsilon, PredictionType::kSample, PredictionType::kVelocity}) {
    const double coarse = round_trip_error(prediction, 40);
    const double fine = round_trip_error(prediction, 160);
    EXPECT_LT(fine, 0.05);
    EXPECT_GT(coarse / fine, 3) << coarse << " -> " << fine;  // of first order: 4
  }
}

TEST(SamplerInversionTest, EncodedDataIsNormal) {
  at::manual_seed(0);
  // Draws of the two bells: 0.4 at -0.6 +- 0.3, 0.6 at 0.5 +- 0.35.
  const Tensor left = (at::rand({20000, 1, 1, 1}) < 0.4).to(at::kFloat);
  const Tensor images =
      left * (-0.6 + 0.3 * at::randn_like(left)) + (1 - left) * (0.5 + 0.35 * at::randn_like(left));
  const Tensor x_T = encode(long_schedule(), PredictionType::kEpsilon,
                            bells_network(PredictionType::kEpsilon), {.steps = 200}, images);
  // 2e4 draws know the mean to 0.007 and the deviation to 0.005; 0.02 is left for the steps.
  EXPECT_NEAR(x_T.mean().item<double>(), 0, 0.04);
  EXPECT_NEAR(x_T.std().item<double>(), 1, 0.04);
  EXPECT_NEAR((x_T.abs() < 1).to(at::kFloat).mean().item<double>(), 0.6827, 0.02);
}

TEST(SamplerInversionTest, ThePlanClimbsTheListOfTheSampler) {
  const auto plan = make_inversion_plan(long_schedule(), PredictionType::kEpsilon, {.steps = 4});
  ASSERT_EQ(plan.calls.size(), 4U);
  EXPECT_EQ(plan.calls[0].level.t, 249);  // the image, asked about at the lowest level
  EXPECT_EQ(plan.calls[0].next_level.t, 249);
  EXPECT_EQ(plan.calls[1].level.t, 249);
  EXPECT_EQ(plan.calls[3].level.t, 749);
  EXPECT_EQ(plan.calls[3].next_level.t, 999);
}

TEST(SamplerInversionTest, AListThatDoesNotEndAtTheImageIsRefused) {
  const SamplerOptions options{.steps = 4, .final_sigma = FinalSigma::kSigmaMin};
  EXPECT_THAT([&] { make_inversion_plan(long_schedule(), PredictionType::kEpsilon, options); },
              ::testing::ThrowsMessage<std::invalid_argument>(::testing::HasSubstr(
                  "[make_inversion_plan] final_sigma: expected zero, where the image is, got "
                  "sigma_min")));
}

}  // namespace
}  // namespace ddpm
