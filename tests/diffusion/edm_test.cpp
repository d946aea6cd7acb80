#include "ddpm/diffusion/edm.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cmath>

#include "ddpm/diffusion/betas.h"
#include "ddpm/diffusion/forward_process.h"
#include "ddpm/diffusion/prediction.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

// [EDM Tab. 1], in its own variables: x = x_t / sqrt(alpha_bar) has noise of deviation sigma.
TEST(EdmTest, CoefficientsAreThoseOfThePapersTable) {
  for (const double sigma : {0.002, 0.3, 80.0}) {
    for (const double s : {0.5, 1.7}) {
      const double a = 1 / (1 + sigma * sigma);
      const double c_skip = s * s / (sigma * sigma + s * s);
      const double c_out = sigma * s / std::sqrt(sigma * sigma + s * s);
      const double c_in = 1 / std::sqrt(sigma * sigma + s * s);
      const EdmCoefficients got = edm_coefficients(s, at::full({}, a, at::kDouble));
      EXPECT_NEAR(got.x_start_from_x_t.item<double>() * std::sqrt(a) / c_skip, 1, 1e-9);
      EXPECT_NEAR(got.x_start_from_output.item<double>() / c_out, 1, 1e-9);
      EXPECT_NEAR(got.input_scale.item<double>() * std::sqrt(a) / c_in, 1, 1e-9);

      const Tensor x_t = at::full({1, 1, 1, 1}, 0.6);
      const EdmInput input = edm_input(s, x_t, at::full({1}, a, at::kDouble));
      EXPECT_NEAR(input.x.item<double>(), c_in * 0.6 / std::sqrt(a), 1e-5);
      EXPECT_NEAR(input.c_noise.item<double>(), std::log(sigma) / 4, 1e-6);
    }
  }
}

// What the preconditioning is for: inputs and targets of unit variance at every level.
TEST(EdmTest, InputsAndTargetsHaveUnitVariance) {
  at::manual_seed(5);
  NoiseSchedule s = make_schedule(make_linear_betas(1000, 1e-4, 0.02));
  s.sigma_data = 0.3;
  const Tensor t = at::tensor({0, 100, 400, 999}, at::kLong);
  const Tensor x_start = 0.3 * at::randn({4, 1, 300, 300}, at::kDouble);
  const Tensor noise = at::randn_like(x_start);
  const Tensor x_t = q_sample(s, x_start, t, noise);
  const Tensor target = training_target(s, PredictionType::kEdm, x_start, t, noise);
  const Tensor input = edm_input(0.3, x_t, s.alphas_cumprod.index_select(0, t)).x;
  EXPECT_TRUE(tensors_near(target.std({1, 2, 3}), at::ones({4}), 0.01));
  EXPECT_TRUE(tensors_near(input.std({1, 2, 3}), at::ones({4}), 0.01));
}

TEST(EdmTest, WithDataOfUnitVarianceItIsMinusV) {
  at::manual_seed(6);
  NoiseSchedule s = make_schedule(make_linear_betas(1000, 1e-4, 0.02));
  s.sigma_data = 1;
  const Tensor t = at::tensor({0, 500, 999}, at::kLong);
  const Tensor x_start = at::randn({3, 1, 2, 2}, at::kDouble);
  const Tensor noise = at::randn_like(x_start);
  EXPECT_TRUE(tensors_near(training_target(s, PredictionType::kEdm, x_start, t, noise),
                           -velocity(s, x_start, t, noise), 1e-12));
}

}  // namespace
}  // namespace ddpm
