#include "ddpm/kernels/sampler_update.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <limits>
#include <stdexcept>

#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using testing::tensors_near;

Tensor map_of(double first, double second) {
  return at::tensor({first, second}, at::kFloat).view({2, 1, 1, 1});
}

TEST(SamplerUpdateTest, AddsItsThreeTerms) {
  const Tensor x_prev =
      sampler_update(map_of(1, 2), map_of(10, 20), map_of(100, -100), 0.5, 3.0, 0.25);
  EXPECT_TRUE(tensors_near(x_prev, map_of(33, -9), 1e-5));
}

TEST(SamplerUpdateTest, WithoutSigmaNoiseMayBeAbsent) {
  const Tensor x_prev = sampler_update(map_of(1, 2), map_of(10, 20), Tensor(), 0.5, 3.0, 0.0);
  EXPECT_TRUE(tensors_near(x_prev, map_of(8, 16), 1e-6));
}

TEST(SamplerUpdateTest, LeavesItsInputsAsTheyAre) {
  const Tensor x_t = map_of(1, 2);
  sampler_update(x_t, map_of(10, 20), map_of(1, 1), 0.5, 3.0, 0.25);
  EXPECT_TRUE(at::equal(x_t, map_of(1, 2)));
}

TEST(SamplerUpdateTest, EachImageTakesItsOwnCoefficients) {
  const StepCoefficients coefficients{.coef_x_start = at::tensor({0.5, 2.0}, at::kDouble),
                                      .coef_x_t = at::tensor({3.0, 1.0}, at::kDouble),
                                      .sigma = at::tensor({0.25, 0.5}, at::kDouble)};
  const Tensor x_prev =
      sampler_update(map_of(1, 2), map_of(10, 20), map_of(100, -100), coefficients);
  EXPECT_TRUE(tensors_near(x_prev, map_of(33, -8), 1e-5));
}

TEST(SamplerUpdateTest, AnImageWithoutSigmaTakesNoNoiseIn) {
  const StepCoefficients coefficients{.coef_x_start = at::ones({2}),
                                      .coef_x_t = at::ones({2}),
                                      .sigma = at::tensor({0.0, 1.0}, at::kDouble)};
  const Tensor noise = map_of(std::numeric_limits<double>::quiet_NaN(), 4);
  EXPECT_TRUE(tensors_near(sampler_update(map_of(1, 1), map_of(2, 2), noise, coefficients),
                           map_of(3, 7), 1e-6));
}

TEST(SamplerUpdateTest, RefusesMissingNoiseAndWrongShapes) {
  const Tensor x = map_of(1, 2);
  const Tensor other = at::zeros({1, 1, 1, 1});
  EXPECT_THROW(sampler_update(x, x, Tensor(), 1.0, 1.0, 0.5), std::invalid_argument);
  EXPECT_THROW(sampler_update(x, other, x, 1.0, 1.0, 0.5), std::invalid_argument);
  EXPECT_THROW(sampler_update(x.to(at::kBFloat16), x, x, 1.0, 1.0, 0.5), std::invalid_argument);
  StepCoefficients coefficients{
      .coef_x_start = at::ones({3}), .coef_x_t = at::ones({2}), .sigma = Tensor()};
  EXPECT_THROW(sampler_update(x, x, Tensor(), coefficients), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
