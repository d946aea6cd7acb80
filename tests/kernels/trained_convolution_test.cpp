#include "ddpm/kernels/cpu/trained_convolution.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/cpu/weight_gradient_bf16.h"

namespace ddpm {
namespace {

/// A convolution in bfloat16 on the CPU, with gradients.
struct TrainedCase {
  std::string name;
  std::vector<int64_t> x;
  int64_t out_channels;
  int64_t kernel = 3, stride = 1, padding = 1;
  bool bias = true, residual = false;
  bool is_tiled = true;  ///< with AMX
};
void PrintTo(const TrainedCase& c, std::ostream* out) { *out << c.name; }

// Rows of 16 and more pixels and fewer; images that are no multiple of what a tile takes; sums of
// several parts; tiles of channels that are not even in number.
std::vector<TrainedCase> trained_cases() {
  return {{"Large", {2, 64, 32, 32}, 96, 3, 1, 1, true, true},
          {"ManyImages", {16, 32, 16, 16}, 64},
          {"Small", {16, 64, 8, 8}, 32, 3, 1, 1, false, true},
          {"Smallest", {33, 32, 4, 4}, 64, 3, 1, 1, true, true},
          {"OnePixel", {3, 32, 1, 1}, 32},
          {"OddSides", {3, 32, 9, 7}, 160, 3, 1, 1, false},
          {"WideRows", {1, 32, 5, 70}, 32},
          {"WithoutPadding", {2, 32, 10, 18}, 32, 3, 1, 0},
          {"WidePadding", {2, 32, 6, 5}, 32, 3, 1, 2},
          {"Strided", {5, 64, 17, 17}, 32, 3, 2, 0},
          {"StridedWithPadding", {4, 32, 9, 9}, 64, 3, 2, 1, true, true},
          {"StridedRows", {2, 32, 33, 33}, 64, 3, 2, 0},
          {"Pixels", {4, 96, 16, 16}, 64, 1, 1, 0, true, true},
          {"FewPixels", {2, 32, 3, 3}, 32, 1, 1, 0},
          {"StridedPixels", {2, 32, 6, 6}, 32, 1, 2, 0},
          {"FewChannels", {2, 3, 12, 12}, 32, 3, 1, 1, true, false, false},
          {"OddChannels", {2, 32, 8, 8}, 24, 3, 1, 1, true, true, false}};
}

Tensor bf16_map(at::IntArrayRef sizes) {
  return at::randn(sizes).to(at::kBFloat16).contiguous(at::MemoryFormat::ChannelsLast);
}

/// The largest error, as a share of the largest value that is expected.
double largest_error(const Tensor& got, const Tensor& expected) {
  return ((got.to(at::kDouble) - expected).abs().max() / expected.abs().max()).item<double>();
}

/// The arguments of a convolution; all are leaves.
struct TrainedConv {
  Tensor x, weight, bias, residual;
  Tensor d_y;

  explicit TrainedConv(const TrainedCase& c)
      : x(bf16_map(c.x)), weight(bf16_map({c.out_channels, c.x[1], c.kernel, c.kernel})) {
    const Tensor y = at::conv2d(x, weight, {}, c.stride, c.padding);
    if (c.bias) bias = at::randn({c.out_channels}).to(at::kBFloat16);
    if (c.residual) residual = bf16_map(y.sizes());
    d_y = bf16_map(y.sizes());
    for (Tensor* leaf : all()) *leaf = leaf->detach().requires_grad_(true);
  }
  std::vector<Tensor*> all() {
    std::vector<Tensor*> tensors{&x, &weight};
    for (Tensor* tensor : {&bias, &residual}) {
      if (tensor->defined()) tensors.push_back(tensor);
    }
    return tensors;
  }
  Conv2dArgs args(const TrainedCase& c) const {
    return {.x = x,
            .weight = weight,
            .bias = bias,
            .residual = residual,
            .stride = c.stride,
            .padding = c.padding};
  }
};

class TrainedConvolutionTest : public ::testing::TestWithParam<TrainedCase> {};

TEST_P(TrainedConvolutionTest, ResultAndGradientsAreThoseOfFloat64) {
  const TrainedCase& c = GetParam();
  at::manual_seed(3);
  TrainedConv conv(c);
  TrainedConv exact = conv;
  for (Tensor* leaf : exact.all()) *leaf = leaf->detach().to(at::kDouble).requires_grad_(true);
  EXPECT_LE(cpu::has_trained_conv2d(conv.args(c)), c.is_tiled);
  const Tensor y = conv2d(conv.args(c));
  Tensor expected = at::conv2d(exact.x, exact.weight, exact.bias, c.stride, c.padding);
  if (c.residual) expected = expected + exact.residual;
  EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_LE(largest_error(y, expected), 1.0 / 125);
  torch::autograd::backward({y}, {conv.d_y});
  torch::autograd::backward({expected}, {conv.d_y.to(at::kDouble)});
  const std::vector<Tensor*> got = conv.all(), wanted = exact.all();
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_EQ(got[i]->grad().scalar_type(), at::kBFloat16);
    EXPECT_LE(largest_error(got[i]->grad(), wanted[i]->grad()), 1.0 / 125) << "gradient " << i;
  }
}

TEST_P(TrainedConvolutionTest, BitsDoNotDependOnTheNumberOfThreads) {
  const TrainedCase& c = GetParam();
  at::manual_seed(4);
  TrainedConv conv(c);
  if (!cpu::has_trained_conv2d(conv.args(c))) GTEST_SKIP() << "LibTorch's, which may differ";
  const int threads = at::get_num_threads();
  const auto run = [&](int count) {
    at::set_num_threads(count);
    const Tensor y = conv2d(conv.args(c));
    const Tensor d_weight =
        cpu::has_weight_gradient_bf16(conv.d_y, conv.x, c.kernel, c.stride, c.padding)
            ? cpu::weight_gradient_bf16(conv.d_y, conv.x, c.kernel, c.stride, c.padding)
            : Tensor();
    at::set_num_threads(threads);
    return std::vector<Tensor>{y, d_weight};
  };
  const std::vector<Tensor> alone = run(1);
  for (const int count : {2, 3}) {
    const std::vector<Tensor> shared = run(count);
    EXPECT_TRUE(at::equal(shared[0], alone[0])) << count;
    if (!alone[1].defined()) continue;
    EXPECT_TRUE(at::equal(shared[1], alone[1])) << count;
  }
}

INSTANTIATE_TEST_SUITE_P(Cases, TrainedConvolutionTest, ::testing::ValuesIn(trained_cases()),
                         [](const auto& test) { return test.param.name; });

TEST(TrainedConvolutionOfLeavesTest, WhatNeedsNoGradientGetsNone) {
  at::manual_seed(5);
  const TrainedCase c{"", {2, 32, 8, 8}, 32, 3, 1, 1, true, true};
  TrainedConv conv(c);
  conv.x = conv.x.detach();
  conv.bias = conv.bias.detach();
  torch::autograd::backward({conv2d(conv.args(c))}, {conv.d_y});
  EXPECT_FALSE(conv.x.grad().defined());
  EXPECT_FALSE(conv.bias.grad().defined());
  EXPECT_TRUE(at::equal(conv.residual.grad(), conv.d_y));
  EXPECT_TRUE(conv.weight.grad().defined());
}

/// Errors of the result and of gradients in float32, of those leaves that are to have one.
std::vector<double> float32_errors(const std::vector<int64_t>& sides, int64_t padding,
                                   const std::vector<bool>& is_leaf, bool has_residual) {
  const Tensor x = at::randn(sides).contiguous(at::MemoryFormat::ChannelsLast);
  const Tensor weight = at::randn({40, sides[1], 3, 3}).contiguous(at::MemoryFormat::ChannelsLast);
  const auto convolve = [&](const std::vector<Tensor>& t) {
    const Tensor y = at::conv2d(t[0], t[1], {}, /*stride=*/1, padding);
    return t.size() > 2 ? y + t[2] : y;
  };
  std::vector<Tensor> leaves{x, weight};
  if (has_residual) leaves.push_back(at::randn_like(convolve({x, weight})));
  std::vector<Tensor> exact;
  for (size_t i = 0; i < leaves.size(); ++i) {
    leaves[i] = leaves[i].detach().requires_grad_(is_leaf[i]);
    exact.push_back(leaves[i].detach().to(at::kDouble).requires_grad_(is_leaf[i]));
  }
  Conv2dArgs args{.x = leaves[0], .weight = leaves[1], .padding = padding};
  if (has_residual) args.residual = leaves[2];
  const Tensor y = conv2d(args), expected = convolve(exact);
  y.square().sum().backward();
  expected.square().sum().backward();
  std::vector<double> errors{largest_error(y, expected)};
  for (size_t i = 0; i < leaves.size(); ++i) {
    EXPECT_EQ(leaves[i].grad().defined(), is_leaf[i]);
    if (is_leaf[i]) errors.push_back(largest_error(leaves[i].grad(), exact[i].grad()));
  }
  return errors;
}

TEST(TrainedConvolutionInFloat32Test, ResultAndGradientsAreThoseOfFloat64) {
  at::manual_seed(6);
  for (const int64_t padding : {0, 1, 2}) {
    for (const std::vector<bool>& is_leaf :
         {std::vector<bool>{true, true, true}, {true, false, false}, {false, true, true}}) {
      for (const bool has_residual : {false, true}) {
        for (const double error : float32_errors({5, 32, 17, 15}, padding, is_leaf, has_residual)) {
          EXPECT_LE(error, 1e-5) << padding << is_leaf[0] << is_leaf[1] << has_residual;
        }
      }
    }
  }
}

TEST(TrainedConvolutionInFloat32Test, AMapThatIsTooSmallIsRefused) {
  const Tensor x = at::randn({1, 32, 2, 600}).requires_grad_(true);
  EXPECT_ANY_THROW(conv2d({.x = x, .weight = at::randn({32, 32, 3, 3})}));
}

TEST(TrainedConvolutionInFloat32Test, GradientsOfItsGradientsAreRefused) {
  const Tensor x = at::randn({1, 32, 32, 32}).requires_grad_(true);
  const Conv2dArgs args{.x = x, .weight = at::randn({32, 32, 3, 3}), .padding = 1};
  if (!cpu::has_trained_conv2d(args)) GTEST_SKIP() << "LibTorch's, which has them";
  const Tensor y = conv2d(args).sum();
  EXPECT_THROW(y.backward(/*gradient=*/{}, /*retain_graph=*/true, /*create_graph=*/true),
               std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
