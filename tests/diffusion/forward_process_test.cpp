#include "ddpm/diffusion/forward_process.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <stdexcept>

#include "ddpm/diffusion/betas.h"
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
using ::testing::Not;
using testing::tensors_near;
using ::testing::ThrowsMessage;

class ForwardProcessTest : public ::testing::Test {
 protected:
  void SetUp() override { at::manual_seed(0); }

  NoiseSchedule schedule_ = make_schedule(make_linear_betas(1000, 1e-4, 0.02));
};

// Both are Gaussian, so equal means and variances are equal distributions. A link of the chain is
// linear in x and noise: feeding (mean, 0), (deviation, 0) and (0, 1) gives both by recursion.
TEST_F(ForwardProcessTest, ChainHasTheDistributionOfTheJumpAtEveryTimestep) {
  for (const DiffusionConfig& config : every_schedule(200)) {
    SCOPED_TRACE(name_of(config));
    const NoiseSchedule s = make_noise_schedule(config);
    const Tensor zero = at::zeros({1}, at::kDouble);
    const Tensor one = at::ones({1}, at::kDouble);
    Tensor mean = one;
    Tensor variance = zero;
    for (int64_t i = 0; i < s.num_timesteps(); ++i) {
      const Tensor t = at::full({1}, i, at::kLong);
      mean = q_step(s, mean, t, zero);
      variance = q_step(s, variance.sqrt(), t, zero).square() + q_step(s, zero, t, one).square();
      ASSERT_TRUE(tensors_near(mean, q_sample(s, one, t, zero), 1e-13)) << i;
      ASSERT_TRUE(tensors_near(variance, q_sample(s, zero, t, one).square(), 1e-13)) << i;
    }
  }
}

TEST_F(ForwardProcessTest, ChainOfSamplesHasTheJumpsMeanAndDeviation) {
  const NoiseSchedule s = make_schedule(make_linear_betas(20, 0.01, 0.3));
  Tensor x = at::full({100000}, 0.7);
  const Tensor t = at::zeros({100000}, at::kLong);
  for (int64_t i = 0; i < 20; ++i) x = q_step(s, x, t + i, at::randn_like(x));
  // 1e5 samples: the mean is known to 0.003, the deviation to 0.002; four times that is allowed.
  EXPECT_NEAR(x.mean().item<double>(), 0.7 * s.sqrt_alphas_cumprod[-1].item<double>(), 0.0128);
  EXPECT_NEAR(x.std().item<double>(), s.sqrt_one_minus_alphas_cumprod[-1].item<double>(), 0.009);
}

TEST_F(ForwardProcessTest, EachImageTakesItsOwnTimestep) {
  const auto x_start = at::rand({3, 2, 4, 4}) * 2 - 1;
  const auto noise = at::randn_like(x_start);
  const auto t = at::tensor({5, 999, 300}, at::kLong);
  const auto batch = q_sample(schedule_, x_start, t, noise);
  for (int64_t i = 0; i < 3; ++i) {
    const auto alone = q_sample(schedule_, x_start.slice(0, i, i + 1), t.slice(0, i, i + 1),
                                noise.slice(0, i, i + 1));
    EXPECT_TRUE(at::equal(alone, batch.slice(0, i, i + 1)));
  }
}

// Computing 1 - alpha_bar in float32 would be wrong here by 8e-7.
TEST_F(ForwardProcessTest, QSampleAtFirstTimestepIsExactToFloat32) {
  const auto x_start = at::zeros({1, 1, 1, 1});
  const auto x_t = q_sample(schedule_, x_start, at::zeros({1}, at::kLong), x_start + 1);
  EXPECT_NEAR(x_t.item<double>(), 0.01, 1e-9);  // sqrt(beta_0), beta_0 = 1e-4
}

TEST_F(ForwardProcessTest, QSampleAtLastTimestepIsNearlyStandardNormal) {
  const auto x_start = at::ones({64, 3, 16, 16});
  const auto x_t =
      q_sample(schedule_, x_start, at::full({64}, 999, at::kLong), at::randn_like(x_start));
  EXPECT_NEAR(x_t.mean().item<double>(), 0.0, 0.02);
  EXPECT_NEAR(x_t.std().item<double>(), 1.0, 0.02);
}

TEST_F(ForwardProcessTest, ResultHasTheDtypeAndTheMemoryFormatOfTheBatch) {
  const auto x_start = at::rand({2, 3, 4, 4}).contiguous(at::MemoryFormat::ChannelsLast);
  const auto x_t = q_sample(schedule_, x_start, at::zeros({2}, at::kLong), x_start);
  EXPECT_EQ(x_t.scalar_type(), at::kFloat);
  EXPECT_TRUE(x_t.is_contiguous(at::MemoryFormat::ChannelsLast));
}

TEST_F(ForwardProcessTest, NothingIsReadOnTheHost) {
  const auto x_start = at::zeros({2, 3, 4, 4});
  const auto t = at::zeros({2}, at::kLong);
  EXPECT_THAT(host_reads([&] { at::is_nonzero(t[0]); }), Not(IsEmpty()));  // the check can fail
  EXPECT_THAT(host_reads([&] { q_sample(schedule_, x_start, t, x_start); }), IsEmpty());
  EXPECT_THAT(host_reads([&] { q_step(schedule_, x_start, t, x_start); }), IsEmpty());
}

TEST_F(ForwardProcessTest, WrongShapesAndDtypesAreRefused) {
  const auto x = at::zeros({2, 3, 8, 8});
  const auto t = at::zeros({2}, at::kLong);
  EXPECT_THAT(
      [&] {
        q_sample(schedule_, x, t, at::zeros({2, 1, 8, 8}));
      },
      ThrowsMessage<std::invalid_argument>(
          "[q_sample] noise must have the batch's shape: expected [2, 3, 8, 8], got "
          "[2, 1, 8, 8]"));
  EXPECT_THAT([&] { q_step(schedule_, x, at::zeros({3}, at::kLong), x); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("[q_step] t must hold")));
  EXPECT_THROW(q_sample(schedule_, x, t.to(at::kFloat), x), std::invalid_argument);
  EXPECT_THROW(q_sample(schedule_, x, t.view({2, 1}), x), std::invalid_argument);
  EXPECT_THAT([&] { q_sample(schedule_, x.to(at::kBFloat16), t, x); },
              ThrowsMessage<std::invalid_argument>(HasSubstr("half precision")));
}

}  // namespace
}  // namespace ddpm
