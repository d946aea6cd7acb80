#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <limits>
#include <string>
#include <vector>

#include "ddpm/kernels/conv2d.h"

namespace ddpm {
namespace {

struct ConvCase {
  std::string name;
  std::vector<int64_t> x_shape;  ///< N, C, H, W
  int64_t out_channels;
  int64_t kernel;
  int64_t stride;
  int64_t padding;
  at::ScalarType dtype;
  bool bias;
  bool residual;
  bool transposed = false;
  bool residual_bias = false;
};
void PrintTo(const ConvCase& conv_case, std::ostream* out) { *out << conv_case.name; }

std::vector<ConvCase> conv_cases() {
  constexpr auto kFloat = at::kFloat;
  constexpr auto kBf16 = at::kBFloat16;
  return {{"BiasAndResidualBf16", {4, 64, 16, 16}, 128, 3, 1, 1, kBf16, true, true},
          {"BiasAndResidual", {3, 32, 8, 8}, 24, 3, 1, 1, kFloat, true, true},
          {"NeitherBf16", {4, 64, 8, 8}, 64, 3, 1, 1, kBf16, false, false},
          {"ResidualAlone", {2, 16, 9, 7}, 40, 1, 1, 0, kFloat, false, true},
          {"FewChannelsInBf16", {4, 3, 32, 32}, 128, 3, 1, 1, kBf16, true, false},
          {"FewChannelsOutBf16", {4, 128, 32, 32}, 3, 3, 1, 1, kBf16, true, false},
          {"FewChannelsOut", {2, 16, 8, 8}, 3, 3, 1, 1, kFloat, true, true},
          {"OddChannels", {2, 5, 6, 4}, 7, 3, 1, 0, kFloat, true, true},
          {"Strided", {2, 16, 9, 9}, 16, 3, 2, 0, kFloat, true, false},
          {"Transposed", {2, 16, 5, 5}, 8, 4, 2, 1, kFloat, true, false, true},
          {"OneImageOfOnePixel", {1, 64, 1, 1}, 32, 3, 1, 1, kFloat, true, true},
          {"TwoBiases", {2, 16, 9, 7}, 24, 3, 1, 1, kFloat, true, true, false, true},
          {"TwoBiasesOfOddChannels", {2, 16, 9, 7}, 5, 3, 1, 1, kFloat, true, true, false, true},
          {"TwoBiasesOfPixels", {2, 16, 9, 7}, 24, 1, 1, 0, kFloat, true, true, false, true},
          {"FewPixelsBf16", {1, 256, 16, 16}, 256, 3, 1, 1, kBf16, true, true, false, true},
          {"FewPixelsOfAllChannelsBf16", {1, 512, 4, 4}, 256, 3, 1, 1, kBf16, true, true},
          {"FewPixelsAndPartsBf16", {1, 64, 32, 32}, 256, 3, 1, 1, kBf16, false, true},
          {"FewPixelsStridedBf16", {3, 128, 9, 7}, 64, 3, 2, 0, kBf16, true, false},
          {"FewPixelsOfFourTapsBf16", {1, 64, 6, 6}, 64, 2, 2, 0, kBf16, true, false},
          {"FewPixelsOfFiveSidesBf16", {5, 64, 5, 3}, 128, 5, 1, 2, kBf16, true, true},
          {"FewPixelsOfThirdsBf16", {1, 96, 6, 16}, 96, 3, 1, 1, kBf16, true, true},
          {"FewPixelsOfPartialTilesBf16", {1, 128, 30, 20}, 64, 3, 1, 1, kBf16, true, true},
          {"FewPixelsOfPartialBatchesBf16", {7, 64, 6, 8}, 64, 3, 1, 1, kBf16, false, true},
          {"FewPixelsOfWideLinesBf16", {1, 64, 2, 100}, 32, 3, 1, 1, kBf16, true, false},
          {"FewPixelsOfManyChannelsBf16", {2, 384, 32, 32}, 128, 3, 1, 1, kBf16, true, true}};
}

class Conv2dGpuTest : public ::testing::TestWithParam<ConvCase> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
    at::globalContext().setAllowTF32CuDNN(false);
  }
};

/// Output and gradients for these arguments, as float64 on the CPU.
std::vector<Tensor> conv_results(Conv2dArgs args, const Tensor& d_y) {
  std::vector<Tensor*> inputs{&args.x, &args.weight};
  if (args.bias.defined()) inputs.push_back(&args.bias);
  if (args.residual.defined()) inputs.push_back(&args.residual);
  if (args.residual_bias.defined()) inputs.push_back(&args.residual_bias);
  for (Tensor* input : inputs) *input = input->detach().requires_grad_(true);
  const Tensor y = conv2d(args);
  y.backward(d_y);
  std::vector<Tensor> results{y.detach().to(at::kCPU, at::kDouble)};
  for (Tensor* input : inputs) results.push_back(input->grad().to(at::kCPU, at::kDouble));
  return results;
}

/// Fills freed memory, which the next results will stand in, with NaN.
void poison(at::IntArrayRef sizes, at::ScalarType dtype) {
  std::vector<Tensor> maps;
  for (int i = 0; i < 4; ++i) {
    maps.push_back(at::full(sizes, std::numeric_limits<double>::quiet_NaN(),
                            at::TensorOptions(at::kCUDA).dtype(dtype)));
  }
}

// The reference is the plain body in float64 on the CPU, from the same rounded inputs.
TEST_P(Conv2dGpuTest, OutputAndGradientsAreThoseOfFloat64) {
  const ConvCase& c = GetParam();
  at::manual_seed(0);
  const auto maps = at::TensorOptions(at::kCUDA).dtype(c.dtype);
  const auto channels_last = at::MemoryFormat::ChannelsLast;
  Conv2dArgs args;
  args.x = at::randn(c.x_shape, maps).contiguous(channels_last);
  const int64_t in = c.x_shape[1];
  args.weight = at::randn({c.transposed ? in : c.out_channels, c.transposed ? c.out_channels : in,
                           c.kernel, c.kernel},
                          maps)
                    .contiguous(channels_last);
  args.stride = c.stride;
  args.padding = c.padding;
  args.transposed = c.transposed;
  const auto y_sizes = conv2d(args).sizes().vec();
  if (c.bias) args.bias = at::randn({c.out_channels}, maps);
  if (c.residual) args.residual = at::randn(y_sizes, maps).contiguous(channels_last);
  if (c.residual_bias) args.residual_bias = at::randn({c.out_channels}, maps);
  const Tensor d_y = at::randn(y_sizes, maps).contiguous(channels_last);

  Conv2dArgs exact = args;
  for (Tensor* input :
       {&exact.x, &exact.weight, &exact.bias, &exact.residual, &exact.residual_bias}) {
    if (input->defined()) *input = input->to(at::kCPU, at::kDouble);
  }
  const auto expected = conv_results(exact, d_y.to(at::kCPU, at::kDouble));
  poison(y_sizes, c.dtype);
  const auto got = conv_results(args, d_y);
  const double tolerance = c.dtype == at::kFloat ? 1e-5 : 1e-2;
  for (size_t i = 0; i < expected.size(); ++i) {
    const double error = ((got[i] - expected[i]).norm() / expected[i].norm()).item<double>();
    EXPECT_LT(error, tolerance) << "result " << i;
  }
}

INSTANTIATE_TEST_SUITE_P(Shapes, Conv2dGpuTest, ::testing::ValuesIn(conv_cases()),
                         [](const auto& test) { return test.param.name; });

TEST_P(Conv2dGpuTest, AnswersTheSameWithoutGradients) {
  const ConvCase& c = GetParam();
  if (c.transposed) GTEST_SKIP() << "the same code";
  at::manual_seed(1);
  const auto maps = at::TensorOptions(at::kCUDA).dtype(c.dtype);
  const Tensor x = at::randn(c.x_shape, maps).contiguous(at::MemoryFormat::ChannelsLast);
  const Tensor weight = at::randn({c.out_channels, c.x_shape[1], c.kernel, c.kernel}, maps)
                            .contiguous(at::MemoryFormat::ChannelsLast);
  const Conv2dArgs args{.x = x,
                        .weight = weight,
                        .bias = at::randn({c.out_channels}, maps),
                        .stride = c.stride,
                        .padding = c.padding};
  const Tensor with_gradients = conv2d(args);
  const at::NoGradGuard no_grad;
  // Kernels for bf16 that add the bias themselves round once where others round twice.
  const double tolerance = c.dtype == at::kBFloat16 ? 5e-3 : 0.0;
  const Tensor error = conv2d(args) - with_gradients;
  EXPECT_LE(error.norm().item<double>(), tolerance * with_gradients.norm().item<double>());
}

TEST(Conv2dOfTwoMapsGpuTest, IsThatOfTheMapsSideBySide) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(2);
  const auto maps = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
  const auto map_of = [&](int64_t channels) {
    return at::randn({2, channels, 8, 8}, maps).contiguous(at::MemoryFormat::ChannelsLast);
  };
  std::vector<Tensor> inputs{map_of(64), map_of(32), at::randn({128, 96, 1, 1}, maps)};
  const Tensor d_y = map_of(128);
  std::vector<Tensor> exact;
  for (Tensor& input : inputs) {
    exact.push_back(input.to(at::kCPU, at::kDouble).requires_grad_(true));
    input.requires_grad_(true);
  }
  const auto run = [](const std::vector<Tensor>& of, const Tensor& d_output) {
    const Tensor y = conv2d({.x = of[0], .x_rest = of[1], .weight = of[2]});
    y.backward(d_output);
    return y.detach();
  };
  std::vector<Tensor> expected{run(exact, d_y.to(at::kCPU, at::kDouble))};
  std::vector<Tensor> got{run(inputs, d_y)};
  for (size_t i = 0; i < inputs.size(); ++i) {
    expected.push_back(exact[i].grad());
    got.push_back(inputs[i].grad());
  }
  for (size_t i = 0; i < expected.size(); ++i) {
    const Tensor error = got[i].to(at::kCPU, at::kDouble) - expected[i];
    EXPECT_LT((error.norm() / expected[i].norm()).item<double>(), 1e-2) << "result " << i;
  }
}

}  // namespace
}  // namespace ddpm
