#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <vector>

#include "ddpm/kernels/squared_error.h"

namespace ddpm {
namespace {

enum class ErrorLayout { kContiguous, kChannelsLast, kMixed, kPartOfChannels };

const at::TensorOptions kGpuFloats = at::TensorOptions(at::kCUDA).dtype(at::kFloat);

/// Leaves a prediction lies in, and the prediction.
struct DrawnPrediction {
  Tensor leaf, prediction;
};

DrawnPrediction draw_prediction(at::IntArrayRef sizes, at::ScalarType dtype, ErrorLayout layout) {
  std::vector<int64_t> whole = sizes.vec();
  if (layout == ErrorLayout::kPartOfChannels) whole[1] *= 2;
  Tensor leaf = at::randn(whole, kGpuFloats).to(dtype);
  if (layout != ErrorLayout::kContiguous && sizes.size() == 4) {
    leaf = leaf.contiguous(at::MemoryFormat::ChannelsLast);
  }
  leaf.set_requires_grad(true);
  return {leaf, layout == ErrorLayout::kPartOfChannels ? leaf.narrow(1, 0, sizes[1]) : leaf};
}

void expect_errors_of_float64(at::IntArrayRef sizes, at::ScalarType dtype, ErrorLayout layout) {
  SCOPED_TRACE(::testing::Message()
               << sizes << " " << dtype << " layout " << static_cast<int>(layout));
  const auto [leaf, prediction] = draw_prediction(sizes, dtype, layout);
  Tensor target = at::randn(sizes, kGpuFloats);
  if (layout == ErrorLayout::kChannelsLast && sizes.size() == 4) {
    target = target.contiguous(at::MemoryFormat::ChannelsLast);
  }
  const Tensor weights = at::rand({sizes[0]}, kGpuFloats) + 0.5;
  const Tensor losses = squared_error_per_image(prediction, target);
  (losses * weights).sum().backward();

  const Tensor exact_leaf = leaf.detach().to(at::kDouble).set_requires_grad(true);
  const Tensor exact_prediction =
      layout == ErrorLayout::kPartOfChannels ? exact_leaf.narrow(1, 0, sizes[1]) : exact_leaf;
  const Tensor exact =
      (exact_prediction - target.to(at::kDouble)).square().reshape({sizes[0], -1}).mean(1);
  (exact * weights.to(at::kDouble)).sum().backward();

  EXPECT_EQ(losses.scalar_type(), at::kFloat);
  // Sums of positive float32, each off by at most a few roundings of 6e-8.
  EXPECT_LT(((losses.detach() - exact.detach()) / exact.detach()).abs().max().item<double>(), 2e-6);
  const Tensor d = leaf.grad();
  EXPECT_EQ(d.scalar_type(), dtype);
  const double rounding = dtype == at::kBFloat16 ? 1.0 / 256 : 1e-6;  // of the result, relative
  const Tensor far =
      (d.to(at::kDouble) - exact_leaf.grad()).abs() - rounding * exact_leaf.grad().abs();
  EXPECT_LT(far.max().item<double>(), 1e-12);
}

TEST(SquaredErrorGpuTest, LossesAndGradientsAreThoseOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(0);
  const std::vector<std::vector<int64_t>> shapes{
      {128, 3, 32, 32}, {1, 1, 1, 1},    {5, 3, 7, 9},     {2, 1, 28, 28}, {3, 4, 1, 1},
      {2, 3, 80, 80},   {1, 5, 129, 64}, {4, 3, 128, 129}, {300, 8, 2, 2}, {2, 3, 256, 256}};
  for (const auto& shape : shapes) {
    for (const at::ScalarType dtype : {at::kFloat, at::kBFloat16}) {
      for (const ErrorLayout layout : {ErrorLayout::kContiguous, ErrorLayout::kChannelsLast,
                                       ErrorLayout::kMixed, ErrorLayout::kPartOfChannels}) {
        expect_errors_of_float64(shape, dtype, layout);
      }
    }
  }
  expect_errors_of_float64({6, 10}, at::kFloat, ErrorLayout::kContiguous);
  expect_errors_of_float64({6, 10, 17}, at::kBFloat16, ErrorLayout::kContiguous);
}

TEST(SquaredErrorGpuTest, MemoryThatBeginsAnywhereIsRead) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const Tensor memory = at::randn({2 * 64 + 1}, kGpuFloats);
  const Tensor off = memory.narrow(0, 1, 128).view({2, 4, 4, 4});
  const Tensor target = at::randn({2, 4, 4, 4}, kGpuFloats);
  EXPECT_TRUE(at::allclose(squared_error_per_image(off, target),
                           squared_error_per_image(off.clone(), target), 1e-5));
}

TEST(SquaredErrorGpuTest, ATargetMayHaveAGradient) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const Tensor prediction = at::randn({2, 3, 4, 4}, kGpuFloats).set_requires_grad(true);
  const Tensor target = at::randn({2, 3, 4, 4}, kGpuFloats).set_requires_grad(true);
  squared_error_per_image(prediction, target).sum().backward();
  EXPECT_TRUE(at::allclose(prediction.grad(), -target.grad()));
}

TEST(SquaredErrorGpuTest, AnImagesLossDoesNotDependOnItsBatchAndRepeats) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  for (const int64_t side : {32, 100}) {
    const Tensor prediction = at::randn({16, 3, side, side}, kGpuFloats).to(at::kBFloat16);
    const Tensor target = at::randn({16, 3, side, side}, kGpuFloats);
    const Tensor losses = squared_error_per_image(prediction, target);
    EXPECT_TRUE(at::equal(losses, squared_error_per_image(prediction, target)));
    EXPECT_TRUE(at::equal(losses.narrow(0, 5, 2),
                          squared_error_per_image(prediction.narrow(0, 5, 2).clone(),
                                                  target.narrow(0, 5, 2).clone())));
  }
}

}  // namespace
}  // namespace ddpm
