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

Tensor sum(const std::vector<UpdateTerm>& terms) { return sampler_update(terms); }

TEST(SamplerUpdateTest, AddsItsTerms) {
  EXPECT_TRUE(
      tensors_near(sum({{map_of(1, 2), 3.0}, {map_of(10, 20), 0.5}, {map_of(100, -100), 0.25}}),
                   map_of(33, -9), 1e-5));
  EXPECT_TRUE(at::equal(sum({{map_of(1, 2), 3.0}}), map_of(3, 6)));
}

TEST(SamplerUpdateTest, LeavesItsInputsAsTheyAre) {
  const Tensor x_t = map_of(1, 2);
  sum({{x_t, 3.0}, {map_of(10, 20), 0.5}});
  EXPECT_TRUE(at::equal(x_t, map_of(1, 2)));
}

TEST(SamplerUpdateTest, KeepsDoublePrecision) {
  const Tensor x_t = map_of(1, 2).to(at::kDouble);
  const Tensor result = sum({{x_t, 1.0}, {x_t, 1e-12}});
  EXPECT_EQ(result.scalar_type(), at::kDouble);
  EXPECT_TRUE(at::equal(result, x_t * (1 + 1e-12)));
}

TEST(SamplerUpdateTest, EachImageTakesItsOwnCoefficients) {
  const std::vector<double> coefficients{3.0, 0.5, 0.25, 1.0, 2.0, 0.5};
  EXPECT_TRUE(
      tensors_near(sampler_update({map_of(1, 2), map_of(10, 20), map_of(100, -100)}, coefficients),
                   map_of(33, -8), 1e-5));
}

TEST(SamplerUpdateTest, EachImageIsWhatItIsAlone) {
  at::manual_seed(0);
  const std::vector<Tensor> values{at::randn({5, 3, 33, 31}),
                                   at::randn({5, 3, 33, 31}).to(at::MemoryFormat::ChannelsLast),
                                   at::randn({5, 3, 33, 31})};
  std::vector<double> coefficients;
  for (int i = 0; i < 15; ++i) coefficients.push_back(i % 4 == 1 ? 0 : 0.37 * i - 2);
  const Tensor together = sampler_update(values, coefficients);
  Tensor expected = at::zeros_like(together, at::kDouble);
  for (int64_t i = 0; i < 5; ++i) {
    std::vector<Tensor> alone;
    for (size_t k = 0; k < 3; ++k) {
      alone.push_back(values[k].narrow(/*dim=*/0, i, 1));
      expected[i] += values[k][i].to(at::kDouble) * coefficients[static_cast<size_t>(3 * i) + k];
    }
    EXPECT_TRUE(at::equal(
        sampler_update(alone, at::ArrayRef(coefficients).slice(static_cast<size_t>(3 * i), 3)),
        together.narrow(/*dim=*/0, i, 1)));
  }
  EXPECT_TRUE(tensors_near(together.to(at::kDouble), expected, 1e-5));
}

TEST(SamplerUpdateTest, AValueWithoutCoefficientDoesNotCountWhateverItHolds) {
  const Tensor values = map_of(std::numeric_limits<double>::quiet_NaN(), 4);
  EXPECT_TRUE(tensors_near(sampler_update({map_of(3, 3), values}, std::vector{1.0, 0.0, 1.0, 1.0}),
                           map_of(3, 7), 0));
  EXPECT_TRUE(tensors_near(
      sampler_update({map_of(3, 3), Tensor()}, std::vector{1.0, 0.0, 2.0, 0.0}), map_of(3, 6), 0));
}

TEST(SamplerUpdateTest, SumsAreClippedAndKeepNaN) {
  const Tensor x = at::tensor({-3.0F, -0.5F, 0.25F, 2.0F, std::numeric_limits<float>::quiet_NaN()});
  const Tensor expected = at::tensor({-1.5F, -1.0F, 0.5F, 1.5F});
  for (const Tensor& sum :
       {sampler_update(std::vector<UpdateTerm>{{x, 1.5}, {x, 0.5}}, /*clip_range=*/1.5),
        sampler_update({x.unsqueeze(0), x.unsqueeze(0)}, std::vector{1.5, 0.5}, 1.5)[0]}) {
    EXPECT_TRUE(at::equal(sum.narrow(/*dim=*/0, 0, 4), expected));
    EXPECT_TRUE(sum[4].isnan().item<bool>());
  }
}

TEST(SamplerUpdateTest, RefusesMissingAndUnlikeTerms) {
  const Tensor x = map_of(1, 2);
  EXPECT_THROW(sum({}), std::invalid_argument);
  EXPECT_THROW(sum({{x, 1.0}, {Tensor(), 0.5}}), std::invalid_argument);
  EXPECT_THROW(sum({{x, 1.0}, {at::zeros({1, 1, 1, 1}), 1.0}}), std::invalid_argument);
  EXPECT_THROW(sum({{x, 1.0}, {x.to(at::kDouble), 1.0}}), std::invalid_argument);
  EXPECT_THROW(sum({{x.to(at::kBFloat16), 1.0}}), std::invalid_argument);
  EXPECT_THROW(sampler_update({x, x}, std::vector<double>(3, 1.0)), std::invalid_argument);
  EXPECT_THROW(sampler_update({x, Tensor()}, std::vector<double>(4, 1.0)), std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
