#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdint>
#include <string>
#include <vector>

#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/cpu/packed_weight.h"
#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm {
namespace {

/// A convolution with a norm before it, as res blocks have it in training.
struct NormConvCase {
  std::string name;
  int64_t images, side, channels, rest_channels, out_channels;
  bool time = false, scale_shift = false, residual = false;
  int64_t shortcut_channels = 0, shortcut_rest = 0;
};
void PrintTo(const NormConvCase& c, std::ostream* out) { *out << c.name; }

std::vector<NormConvCase> norm_conv_cases() {
  return {{"First", 16, 32, 128, 0, 128},
          {"SecondWithResidual", 16, 32, 128, 0, 128, true, false, true},
          {"SecondWithShortcut", 40, 16, 256, 0, 256, true, false, false, 128, 0},
          {"ShortcutOfTwoMaps", 124, 8, 256, 0, 256, true, false, false, 128, 32},
          {"TwoMaps", 17, 32, 128, 128, 128},
          {"GroupsAcrossMaps", 17, 32, 256, 128, 128},
          {"SlicesOfOneMap", 40, 32, 256, 0, 128, true, false, true},
          {"SlicesOfTwoMaps", 40, 16, 256, 256, 256, false, true},
          {"WiderResult", 40, 16, 128, 0, 256},
          {"ScaleShift", 121, 8, 256, 0, 256, true, true, true},
          {"SmallestMaps", 64, 4, 256, 256, 256},
          {"SmallestMapsOfFewChannels", 17, 4, 128, 0, 128, false, false, true},
          {"SmallestMapsWithTime", 35, 4, 256, 0, 256, true, false, true},
          {"SmallestMapsWithShortcut", 40, 4, 256, 0, 256, true, false, false, 256, 256},
          {"SmallestMapsScaleShift", 130, 4, 512, 0, 256, false, true, true},
          {"ManyImages", 260, 8, 256, 256, 256},
          {"ManyImagesOfLargerMaps", 258, 16, 256, 128, 256, true}};
}

const at::TensorOptions kNumbers = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);

Tensor drawn_map(int64_t images, int64_t channels, int64_t side, double scale = 1.0) {
  return (at::randn({images, channels, side, side}, kNumbers) * scale)
      .contiguous(at::MemoryFormat::ChannelsLast);
}

/// Its tensors. What comes out of it again is read again.
struct NormConv {
  GroupNormSiluArgs norm;
  Conv2dArgs args, shortcut;
  bool has_shortcut = false;
  Tensor d_y, d_x, d_x_rest, d_later;

  explicit NormConv(const NormConvCase& c) : has_shortcut(c.shortcut_channels > 0) {
    const int64_t in = c.channels + c.rest_channels;
    args.x = drawn_map(c.images, c.channels, c.side).add_(0.5);
    if (c.rest_channels > 0) args.x_rest = drawn_map(c.images, c.rest_channels, c.side, 2.0);
    args.weight = drawn_map(c.out_channels, in, /*side=*/3, 0.05);
    args.padding = 1;
    norm.weight = at::randn({in}, kNumbers);
    norm.bias = at::randn({in}, kNumbers);
    if (c.time) {
      norm.time_embedding = at::randn({c.images, in + 64}, kNumbers).narrow(1, 64, in);
      args.bias = at::randn({c.out_channels}, kNumbers);
    }
    if (c.scale_shift) {
      const Tensor both = at::randn({c.images, 2 * in}, kNumbers);
      norm.scale = both.narrow(/*dim=*/1, 0, in);
      norm.shift = both.narrow(/*dim=*/1, in, in);
    }
    if (c.residual) args.residual = drawn_map(c.images, c.out_channels, c.side);
    if (has_shortcut) {
      shortcut.x = drawn_map(c.images, c.shortcut_channels, c.side);
      if (c.shortcut_rest > 0) shortcut.x_rest = drawn_map(c.images, c.shortcut_rest, c.side);
      shortcut.weight = drawn_map(c.out_channels, c.shortcut_channels + c.shortcut_rest, 1, 0.1);
      args.residual_bias = at::randn({c.out_channels}, kNumbers);
    }
    d_y = drawn_map(c.images, c.out_channels, c.side);
    d_x = drawn_map(c.images, c.channels, c.side);
    d_later = drawn_map(c.images, c.channels, c.side);
    if (c.rest_channels > 0) d_x_rest = drawn_map(c.images, c.rest_channels, c.side);
  }

  std::vector<Tensor*> inputs() {
    std::vector<Tensor*> given;
    for (Tensor* tensor :
         {&args.x, &args.x_rest, &args.weight, &args.bias, &args.residual, &args.residual_bias,
          &norm.weight, &norm.bias, &norm.time_embedding, &norm.scale, &norm.shift, &shortcut.x,
          &shortcut.x_rest, &shortcut.weight}) {
      if (tensor->defined()) given.push_back(tensor);
    }
    return given;
  }
  Conv2dFork run() {
    args.norm = &norm;
    if (has_shortcut) args.shortcut = &shortcut;
    return conv2d_fork(args);
  }
};

/// Output and gradients.
std::vector<Tensor> norm_conv_results(NormConv c) {
  for (Tensor* input : c.inputs()) *input = input->detach().requires_grad_(true);
  const Conv2dFork fork = c.run();
  const Tensor maps = fork.x_rest.defined() ? at::cat({fork.x, fork.x_rest}, /*dim=*/1) : fork.x;
  const Tensor d_maps = c.d_x_rest.defined() ? at::cat({c.d_x, c.d_x_rest}, /*dim=*/1) : c.d_x;
  torch::autograd::backward({fork.y, maps, fork.x_later}, {c.d_y, d_maps, c.d_later});
  std::vector<Tensor> results{fork.y.detach()};
  for (Tensor* input : c.inputs()) results.push_back(input->grad());
  return results;
}

/// The same by the plain body in float64.
std::vector<Tensor> exact_norm_conv_results(NormConv c) {
  for (Tensor* tensor : c.inputs()) *tensor = tensor->to(at::kDouble);
  for (Tensor* tensor : {&c.d_y, &c.d_x, &c.d_x_rest, &c.d_later}) {
    if (tensor->defined()) *tensor = tensor->to(at::kDouble);
  }
  return norm_conv_results(c);
}

bool takes_warpgroups() {
  const Tensor weight = drawn_map(128, 128, /*side=*/3);
  return PackedWeight::of_conv2d(weight, /*stride=*/1, /*padding=*/1).is_of({weight});
}

/// Fills freed memory, which the next results will stand in, with NaN.
void poison_memory() {
  std::vector<Tensor> poisoned;
  for (const int64_t mib : {64, 64, 64, 16, 16, 16, 4, 4, 4}) {
    poisoned.push_back(at::full({mib << 20}, 0xFF, kNumbers.dtype(at::kByte)));
  }
}

class NormConv2dGpuTest : public ::testing::TestWithParam<NormConvCase> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
    if (!takes_warpgroups()) GTEST_SKIP() << "not a Hopper GPU";
    at::globalContext().setDeterministicCuDNN(true);
    at::manual_seed(6);
  }
};

TEST_P(NormConv2dGpuTest, OutputAndGradientsAreThoseOfFloat64) {
  const NormConv c(GetParam());
  const std::vector<Tensor> expected = exact_norm_conv_results(c);
  poison_memory();
  const std::vector<Tensor> got = norm_conv_results(c);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < expected.size(); ++i) {
    const Tensor error = got[i].to(at::kDouble) - expected[i];
    EXPECT_LT((error.norm() / expected[i].norm()).item<double>(), 1e-2) << "result " << i;
  }
  const std::vector<Tensor> again = norm_conv_results(c);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::equal(got[i], again[i])) << i;
}

// It is that of the path without gradients, which a checkpoint takes first.
TEST_P(NormConv2dGpuTest, OutputHasTheBitsOfTheOneWithoutGradients) {
  NormConv c(GetParam());
  const Tensor y = c.run().y;
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(conv2d_is_one_pass(c.args));
  EXPECT_TRUE(at::equal(y, c.run().y));
}

INSTANTIATE_TEST_SUITE_P(Shapes, NormConv2dGpuTest, ::testing::ValuesIn(norm_conv_cases()),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace ddpm
