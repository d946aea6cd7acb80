#include "ddpm/loss/cross_entropy.h"

#include <ATen/ATen.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cmath>
#include <stdexcept>

#include "ddpm/loss/training_loss.h"
#include "support/host_reads.h"
#include "support/tensor_matchers.h"

namespace ddpm {
namespace {

using ::testing::HasSubstr;
using testing::tensors_near;
using ::testing::ThrowsMessage;

TEST(CrossEntropyTest, EqualLogitsGiveTheLogarithmOfTheNumberOfClasses) {
  const Tensor loss = cross_entropy(at::full({2, 8}, 3.0), at::tensor({0, 7}, at::kLong));
  EXPECT_TRUE(tensors_near(loss, at::full({2}, std::log(8.0)), 1e-6));
}

TEST(CrossEntropyTest, ValuesAndGradientsEqualPyTorchs) {
  at::manual_seed(0);
  const Tensor labels = at::tensor({2, 0, 4, 4}, at::kLong);
  const Tensor ours = (at::randn({4, 5}) * 5).set_requires_grad(true);
  const Tensor theirs = ours.detach().clone().set_requires_grad(true);
  const Tensor loss = cross_entropy(ours, labels);
  const Tensor expected =
      at::cross_entropy_loss(theirs, labels, /*weight=*/{}, at::Reduction::None);
  EXPECT_TRUE(tensors_near(loss, expected, 1e-6));
  loss.square().sum().backward();
  expected.square().sum().backward();
  EXPECT_TRUE(tensors_near(ours.grad(), theirs.grad(), 1e-5));
}

TEST(CrossEntropyTest, IsFloat32AndFiniteForLogitsOfBfloat16) {
  const Tensor logits = at::tensor({200.0, -200.0}).expand({2, 2}).to(at::kBFloat16);
  const Tensor loss = cross_entropy(logits, at::tensor({0, 1}, at::kLong));
  EXPECT_EQ(loss.scalar_type(), at::kFloat);
  EXPECT_TRUE(tensors_near(loss, at::tensor({0.0f, 400.0f}), 1e-6));
}

TEST(CrossEntropyTest, TrainsAClassifierAndSaysWhereItIsRight) {
  LossConfig config;
  config.kind = LossKind::kCrossEntropy;
  LossInputs in;
  in.output = at::tensor({1.0f, 3.0f, 2.0f, 0.5f, 0.0f, -1.0f, 0.0f, 0.0f, 9.0f}).view({3, 3});
  in.labels = at::tensor({1, 1, 2}, at::kLong);
  ImageLosses losses;
  const auto reads = testing::host_reads(
      [&] { losses = training_losses(config, NoiseSchedule(), PredictionType::kEpsilon, {}, in); });
  EXPECT_THAT(reads, ::testing::IsEmpty());
  EXPECT_TRUE(at::equal(losses.correct, at::tensor({1, 0, 1}) == 1));
  EXPECT_TRUE(at::equal(losses.objective, cross_entropy(in.output, in.labels)));
  EXPECT_TRUE(at::equal(losses.plain, losses.objective));
}

TEST(CrossEntropyTest, ShapesThatDoNotAgreeAreRefused) {
  EXPECT_THAT(
      [] {
        cross_entropy(at::zeros({2, 3}), at::zeros({3}, at::kLong));
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("one label an image")));
  EXPECT_THAT(
      [] {
        cross_entropy(at::zeros({2, 3, 4, 4}), at::zeros({2}, at::kLong));
      },
      ThrowsMessage<std::invalid_argument>(HasSubstr("[N, K]")));
}

}  // namespace
}  // namespace ddpm
