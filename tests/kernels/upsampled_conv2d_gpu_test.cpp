#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdint>
#include <ostream>
#include <string>
#include <vector>

#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm {
namespace {

/// A convolution of an upsampled map, with gradients.
struct UpsampledCase {
  std::string name;
  int64_t images, side, channels, out_channels;
  bool has_bias = true;
};
void PrintTo(const UpsampledCase& c, std::ostream* out) { *out << c.name; }

std::vector<UpsampledCase> upsampled_cases() {
  return {{"Small", 16, 8, 256, 256},
          {"Large", 5, 16, 128, 256},
          {"WithoutBias", 9, 8, 256, 128, false},
          {"GradientOfWeightInTwoParts", 131, 8, 128, 128},
          {"InThreeParts", 300, 8, 128, 128},
          {"LargestMaps", 3, 32, 128, 128},
          {"NoSuchKernel", 7, 4, 64, 64}};
}

const at::TensorOptions kUpsampledBf16 = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);

struct UpsampledTensors {
  Tensor x, weight, bias, d_y;
};

UpsampledTensors drawn_tensors(const UpsampledCase& c) {
  const auto map = [](int64_t images, int64_t channels, int64_t side, double scale) {
    return (at::randn({images, channels, side, side}, kUpsampledBf16) * scale)
        .contiguous(at::MemoryFormat::ChannelsLast);
  };
  return {.x = map(c.images, c.channels, c.side, 1.0),
          .weight = map(c.out_channels, c.channels, /*side=*/3, 0.05),
          .bias = c.has_bias ? at::randn({c.out_channels}, kUpsampledBf16) : Tensor(),
          .d_y = map(c.images, c.out_channels, 2 * c.side, 1.0)};
}

/// Result and gradients of x, weight and bias.
struct UpsampledAnswer {
  Tensor y;
  std::vector<Tensor> gradients;
};

template <typename Convolve>
UpsampledAnswer answer_of(UpsampledTensors tensors, const Convolve& convolve) {
  std::vector<Tensor> inputs;
  for (Tensor* const input : {&tensors.x, &tensors.weight, &tensors.bias}) {
    if (!input->defined()) continue;
    *input = input->detach().requires_grad_();
    inputs.push_back(*input);
  }
  const Tensor y = convolve(tensors);
  return {y.detach(), torch::autograd::grad({y}, inputs, {tensors.d_y})};
}

Tensor fused(const UpsampledTensors& tensors) {
  return conv2d({.x = tensors.x,
                 .weight = tensors.weight,
                 .bias = tensors.bias,
                 .padding = 1,
                 .upsampled = true});
}

UpsampledAnswer in_float64(const UpsampledTensors& tensors) {
  const auto wide = [](const Tensor& tensor) {
    return tensor.defined() ? tensor.to(at::kDouble) : tensor;
  };
  return answer_of(
      {wide(tensors.x), wide(tensors.weight), wide(tensors.bias), wide(tensors.d_y)},
      [](const UpsampledTensors& t) {
        const Tensor large = at::upsample_nearest2d(t.x, {2 * t.x.size(2), 2 * t.x.size(3)});
        return at::conv2d(large, t.weight, t.bias, /*stride=*/1, /*padding=*/1);
      });
}

double relative_error(const Tensor& actual, const Tensor& expected) {
  return ((actual.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

class UpsampledConv2dGpuTest : public ::testing::TestWithParam<UpsampledCase> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
    at::manual_seed(0);
  }
};

TEST_P(UpsampledConv2dGpuTest, ResultAndGradientsAreThoseOfFloat64) {
  const UpsampledTensors tensors = drawn_tensors(GetParam());
  const UpsampledAnswer actual = answer_of(tensors, fused), expected = in_float64(tensors);
  EXPECT_LT(relative_error(actual.y, expected.y), 4e-3);
  ASSERT_EQ(actual.gradients.size(), expected.gradients.size());
  for (size_t i = 0; i < actual.gradients.size(); ++i) {
    EXPECT_EQ(actual.gradients[i].sizes(), expected.gradients[i].sizes());
    EXPECT_LT(relative_error(actual.gradients[i], expected.gradients[i]), 5e-3) << "input " << i;
  }
}

TEST_P(UpsampledConv2dGpuTest, BitsAreTheSameEveryTime) {
  const UpsampledTensors tensors = drawn_tensors(GetParam());
  const UpsampledAnswer first = answer_of(tensors, fused), second = answer_of(tensors, fused);
  EXPECT_TRUE(at::equal(first.y, second.y));
  for (size_t i = 0; i < first.gradients.size(); ++i) {
    EXPECT_TRUE(at::equal(first.gradients[i], second.gradients[i])) << "input " << i;
  }
}

TEST_P(UpsampledConv2dGpuTest, TheNextNormSeesTheResult) {
  const UpsampledCase& c = GetParam();
  const Tensor y = fused(drawn_tensors(c));
  const auto normed = [&](const Tensor& map) {
    const GroupNormSiluArgs norm{.x = map,
                                 .weight = at::ones({c.out_channels}, kUpsampledBf16),
                                 .bias = at::zeros({c.out_channels}, kUpsampledBf16),
                                 .eps = 1e-6};
    Tensor weight = at::zeros({c.out_channels, c.out_channels, 3, 3}, kUpsampledBf16)
                        .contiguous(at::MemoryFormat::ChannelsLast);
    weight.select(3, 1).select(2, 1).copy_(at::eye(c.out_channels, kUpsampledBf16));
    Conv2dArgs args{.x = map, .weight = weight};
    args.padding = 1;
    args.norm = &norm;
    return conv2d(args);
  };
  EXPECT_LT(relative_error(normed(y), normed(y.clone()).to(at::kDouble)), 2e-3);
}

INSTANTIATE_TEST_SUITE_P(Shapes, UpsampledConv2dGpuTest, ::testing::ValuesIn(upsampled_cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace ddpm
