#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cmath>
#include <ostream>
#include <string>
#include <vector>

#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/pad.h"

namespace ddpm {
namespace {

TEST(PadGpuTest, OutputAndGradientAreThoseOfTheCpu) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(0);
  const std::vector<std::vector<int64_t>> shapes{
      {3, 256, 8, 8}, {2, 24, 5, 3}, {1, 8, 1, 1}, {2, 6, 4, 4}};
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const auto& shape : shapes) {
      const Tensor x = at::randn(shape, at::TensorOptions(at::kCUDA).dtype(dtype))
                           .contiguous(at::MemoryFormat::ChannelsLast)
                           .requires_grad_(true);
      const Tensor on_cpu = x.detach().to(at::kCPU).requires_grad_(true);
      const Tensor y = pad_right_and_bottom(x);
      const Tensor expected = pad_right_and_bottom(on_cpu);
      EXPECT_TRUE(at::equal(y.to(at::kCPU), expected)) << at::IntArrayRef(shape);
      const Tensor d_y = at::randn_like(y);
      y.backward(d_y);
      expected.backward(d_y.to(at::kCPU));
      EXPECT_TRUE(at::equal(x.grad().to(at::kCPU), on_cpu.grad())) << at::IntArrayRef(shape);
    }
  }
}

TEST(PadGpuTest, GradientOfTheMapThatIsReadAgainIsAdded) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(0);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor x = at::randn({3, 64, 5, 6}, at::TensorOptions(at::kCUDA).dtype(dtype))
                         .contiguous(at::MemoryFormat::ChannelsLast)
                         .requires_grad_(true);
    const PadFork fork = pad_right_and_bottom_fork(x);
    const Tensor d_y = at::randn_like(fork.y), d_x = at::randn_like(fork.x);
    torch::autograd::backward({fork.y, fork.x}, {d_y, d_x});
    const Tensor cut = d_y.slice(/*dim=*/2, 0, 5).slice(/*dim=*/3, 0, 6);
    EXPECT_TRUE(at::equal(x.grad(), cut + d_x));
    x.mutable_grad() = Tensor();
    torch::autograd::backward({pad_right_and_bottom_fork(x).x}, {d_x});
    EXPECT_TRUE(at::equal(x.grad(), d_x));
  }
}

TEST(PadGpuTest, AConvolutionPadsItsMapItself) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const at::NoGradGuard no_grad;
  at::manual_seed(0);
  const auto options = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
  for (const std::vector<int64_t>& sizes : {std::vector<int64_t>{1, 256, 16, 16},
                                            {1, 128, 32, 32},
                                            {2, 64, 8, 6},
                                            {1, 64, 5, 7},
                                            {64, 128, 32, 32},
                                            {1, 24, 8, 8}}) {
    const Tensor x = at::randn(sizes, options).contiguous(at::MemoryFormat::ChannelsLast);
    const Tensor weight =
        (at::randn({64, sizes[1], 3, 3}, options) / 24).contiguous(at::MemoryFormat::ChannelsLast);
    const Tensor bias = at::randn({64}, options);
    const Tensor y = conv2d({.x = x, .weight = weight, .bias = bias, .stride = 2, .padded = true});
    const Tensor expected =
        at::conv2d(at::constant_pad_nd(x.to(at::kDouble), {0, 1, 0, 1}), weight.to(at::kDouble),
                   bias.to(at::kDouble), /*stride=*/{2, 2});
    EXPECT_LT(((y - expected).norm() / expected.norm()).item<double>(), 1e-2)
        << at::IntArrayRef(sizes);
  }
}

/// A convolution of stride 2 that pads its map itself.
struct PaddedConvCase {
  std::string name;
  std::vector<int64_t> sizes;
  int64_t out_channels;
  bool has_gradient_of_x_again = true;
};
void PrintTo(const PaddedConvCase& c, std::ostream* out) { *out << c.name; }

std::vector<PaddedConvCase> padded_conv_cases() {
  return {{"FewChannelsOut", {3, 128, 32, 32}, 32},
          {"SmallChannels", {40, 64, 16, 16}, 32},
          {"OddRows", {2, 24, 9, 6}, 32},
          {"TwoRows", {2, 8, 2, 3}, 32},
          // From here on the gradient of x is a transposed convolution by warpgroups.
          {"Large", {3, 128, 32, 32}, 128},
          {"LargeWithoutGradientOfXAgain", {2, 256, 32, 32}, 128, false},
          {"ManyImages", {80, 128, 32, 32}, 128},
          {"Small", {5, 256, 16, 16}, 256},
          {"SmallWithoutGradientOfXAgain", {130, 128, 16, 16}, 160, false},
          {"NotSquare", {2, 256, 64, 32}, 192}};
}

class PaddedConvGpuTest : public testing::TestWithParam<PaddedConvCase> {};

TEST_P(PaddedConvGpuTest, GradientsAreThoseOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const PaddedConvCase& c = GetParam();
  at::manual_seed(0);
  at::globalContext().setDeterministicCuDNN(true);
  const auto options = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
  const auto leaf = [](const Tensor& tensor) { return tensor.detach().requires_grad_(true); };
  const Tensor x = leaf(at::randn(c.sizes, options).contiguous(at::MemoryFormat::ChannelsLast));
  const Tensor weight = leaf((at::randn({c.out_channels, c.sizes[1], 3, 3}, options) / 24)
                                 .contiguous(at::MemoryFormat::ChannelsLast));
  const Tensor bias = leaf(at::randn({c.out_channels}, options));
  std::vector<Tensor> exact;
  for (const Tensor* input : {&x, &weight, &bias}) exact.push_back(leaf(input->to(at::kDouble)));
  const Tensor expected =
      at::conv2d(at::constant_pad_nd(exact[0], {0, 1, 0, 1}), exact[1], exact[2], {2, 2});
  static_cast<void>(at::full({c.sizes[0], 2 * c.out_channels, 40, 40}, NAN, options));
  const Conv2dFork fork =
      padded_conv2d_fork({.x = x, .weight = weight, .bias = bias, .stride = 2, .padded = true});
  const auto error = [](const Tensor& got, const Tensor& wanted) {
    return ((got.to(at::kDouble) - wanted).norm() / wanted.norm()).item<double>();
  };
  EXPECT_LT(error(fork.y, expected), 1e-2);
  const Tensor d_y = at::randn_like(fork.y), d_x = at::randn_like(fork.x);
  if (c.has_gradient_of_x_again) {
    torch::autograd::backward({fork.y, fork.x}, {d_y, d_x});
    torch::autograd::backward({expected, exact[0]}, {d_y.to(at::kDouble), d_x.to(at::kDouble)});
  } else {
    torch::autograd::backward({fork.y}, {d_y});
    torch::autograd::backward({expected}, {d_y.to(at::kDouble)});
  }
  const std::vector<Tensor> got{x, weight, bias};
  for (size_t i = 0; i < got.size(); ++i)
    EXPECT_LT(error(got[i].grad(), exact[i].grad()), 1e-2) << i;
}

INSTANTIATE_TEST_SUITE_P(Cases, PaddedConvGpuTest, testing::ValuesIn(padded_conv_cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace ddpm
