#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>
#include <string>
#include <vector>

#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/cpu/packed_weight.h"
#include "ddpm/kernels/gradients_beside.h"
#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm {
namespace {

/// A network's first convolution, or its last with the norm before it.
struct EndCase {
  std::string name;
  int64_t images, height, width, channels, out_channels;
  bool norm = false, bias = true;
  bool is_own = true;  // false: cuDNN's, whose kernels may differ with gradients
};
void PrintTo(const EndCase& c, std::ostream* out) { *out << c.name; }

// The last ones have more pixels than conv2d_few_pixels_function.h takes.
std::vector<EndCase> end_cases() {
  return {{"First", 5, 32, 32, 3, 128},
          {"FirstOfGrey", 2, 24, 40, 1, 256},
          {"FirstWithoutBias", 3, 8, 8, 2, 128, false, false},
          {"FirstOfOneImage", 1, 16, 16, 3, 128},
          {"FirstOfManyImages", 130, 32, 32, 3, 128},
          {"Last", 9, 32, 32, 128, 3, true},
          {"LastToGreyWithoutBias", 12, 16, 48, 64, 1, true, false},
          {"LastToEight", 5, 64, 32, 128, 8, true},
          {"LastOfOneImage", 1, 128, 80, 64, 3, true},
          {"LastOfManyImages", 130, 32, 32, 128, 3, true},
          {"LastOfPartialTiles", 2, 20, 16, 128, 3, true, true, false},
          {"FirstOfFourChannels", 2, 32, 32, 4, 128, false, true, false},
          {"FirstOfOddSides", 2, 30, 30, 3, 128, false, true, false},
          {"FirstOfFourWide", 65, 32, 4, 3, 128},
          {"FirstOfTwoWide", 65, 32, 2, 3, 128, false, true, false}};
}

const at::TensorOptions kEndOptions = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);

Tensor end_map(at::IntArrayRef sizes) {
  return at::randn(sizes, kEndOptions).contiguous(at::MemoryFormat::ChannelsLast);
}

/// Its tensors.
struct EndConv {
  Conv2dArgs args;
  GroupNormSiluArgs norm;
  Tensor d_y;

  explicit EndConv(const EndCase& c) {
    args.x = end_map({c.images, c.channels, c.height, c.width}) + 0.5;
    args.weight = end_map({c.out_channels, c.channels, 3, 3});
    args.padding = 1;
    if (c.bias) args.bias = at::randn({c.out_channels}, kEndOptions);
    if (c.norm) norm.weight = at::randn({c.channels}, kEndOptions);
    if (c.norm) norm.bias = at::randn({c.channels}, kEndOptions);
    d_y = end_map({c.images, c.out_channels, c.height, c.width});
  }

  std::vector<Tensor*> inputs() {
    std::vector<Tensor*> given;
    for (Tensor* tensor : {&args.x, &args.weight, &args.bias, &norm.weight, &norm.bias}) {
      if (tensor->defined()) given.push_back(tensor);
    }
    return given;
  }
  std::vector<Tensor> leaves() {
    std::vector<Tensor> all;
    for (Tensor* input : inputs()) {
      if (input != &args.x) all.push_back(*input = input->detach().requires_grad_(true));
    }
    return all;
  }
  Tensor run() {
    if (norm.weight.defined()) args.norm = &norm;
    return conv2d(args);
  }
};

/// Output and gradients.
std::vector<Tensor> end_results(EndConv conv) {
  for (Tensor* input : conv.inputs()) *input = input->detach().requires_grad_(true);
  const Tensor y = conv.run();
  y.backward(conv.d_y);
  std::vector<Tensor> results{y.detach()};
  for (Tensor* input : conv.inputs()) results.push_back(input->grad());
  return results;
}

/// The same from the same rounded inputs, by the plain body.
EndConv end_in_float64(EndConv conv) {
  for (Tensor* tensor : conv.inputs()) *tensor = tensor->to(at::kDouble);
  conv.d_y = conv.d_y.to(at::kDouble);
  return conv;
}

double end_error(const Tensor& got, const Tensor& expected) {
  return ((got.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

/// Fills freed memory, which the next results will stand in, with NaN.
void poison_end_memory(const EndConv& conv) {
  std::vector<Tensor> poisoned;
  for (const Tensor& like : {conv.args.x, conv.d_y, conv.args.weight}) {
    for (int i = 0; i < 3; ++i) {
      poisoned.push_back(at::full_like(like, std::numeric_limits<double>::quiet_NaN()));
    }
  }
}

bool is_hopper_for_ends() {
  const Tensor weight = end_map({128, 128, 3, 3});
  return PackedWeight::of_conv2d(weight, /*stride=*/1, /*padding=*/1).is_of({weight});
}

class Conv2dFewChannelsGpuTest : public ::testing::TestWithParam<EndCase> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
    at::globalContext().setDeterministicCuDNN(true);
    at::manual_seed(6);
  }
};

TEST_P(Conv2dFewChannelsGpuTest, ResultIsThatOfFloat64) {
  const at::NoGradGuard no_grad;
  EndConv conv(GetParam());
  const Tensor expected = end_in_float64(conv).run();
  poison_end_memory(conv);
  const Tensor y = conv.run();
  EXPECT_EQ(y.sizes(), expected.sizes());
  EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_LT(end_error(y, expected), 6e-3);
}

TEST_P(Conv2dFewChannelsGpuTest, OutputAndGradientsAreThoseOfFloat64) {
  const EndConv conv(GetParam());
  const std::vector<Tensor> expected = end_results(end_in_float64(conv));
  poison_end_memory(conv);
  const std::vector<Tensor> got = end_results(conv);
  ASSERT_EQ(got.size(), expected.size());
  for (size_t i = 0; i < got.size(); ++i) {
    EXPECT_LT(end_error(got[i], expected[i]), 1e-2) << "result " << i;
  }
  const std::vector<Tensor> again = end_results(conv);
  for (size_t i = 0; i < got.size(); ++i) EXPECT_TRUE(at::equal(got[i], again[i])) << i;
}

TEST_P(Conv2dFewChannelsGpuTest, OutputHasTheBitsOfTheOneWithoutGradients) {
  if (!GetParam().is_own || !is_hopper_for_ends()) GTEST_SKIP() << "no kernel of our own";
  EndConv conv(GetParam());
  conv.leaves();
  const Tensor y = conv.run();
  EXPECT_TRUE(y.requires_grad());
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(at::equal(y, conv.run()));
}

INSTANTIATE_TEST_SUITE_P(Shapes, Conv2dFewChannelsGpuTest, ::testing::ValuesIn(end_cases()),
                         [](const auto& test) { return test.param.name; });

/// A network of a first and a last convolution.
struct Ends {
  EndConv first{{"First", 64, 32, 32, 3, 128}};
  EndConv last{{"Last", 64, 32, 32, 128, 3, true}};

  /// Of every weight, by backward() alone or with gradients beside.
  std::vector<Tensor> gradients(bool beside) {
    std::vector<Tensor> leaves = first.leaves();
    for (const Tensor& leaf : last.leaves()) leaves.push_back(leaf);
    last.args.x = first.run();
    const Tensor loss = last.run().to(at::kFloat).square().mean();
    const auto backward = [&] { loss.backward(); };
    beside ? with_gradients_beside(loss.device(), backward) : backward();
    std::vector<Tensor> gradients;
    for (const Tensor& leaf : leaves) gradients.push_back(leaf.grad());
    return gradients;
  }
};

/// Its parameter: whether gradients are wanted.
class Conv2dEndsGpuTest : public ::testing::TestWithParam<bool> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
    if (!is_hopper_for_ends()) GTEST_SKIP() << "not a Hopper GPU";
    at::globalContext().setDeterministicCuDNN(true);
    at::manual_seed(7);
  }
};

const c10::BackendMeta* kept_with_map(const Tensor& map) {
  return map.unsafeGetTensorImpl()->get_backend_meta();
}

TEST_P(Conv2dEndsGpuTest, NextNormFindsTheSumsOfTheFirstResult) {
  const at::AutoGradMode grad_mode(GetParam());
  Ends ends;
  ends.first.leaves();
  const Tensor y = ends.first.run(), copy = y.clone();
  EXPECT_EQ(y.requires_grad(), GetParam());
  EXPECT_NE(kept_with_map(y), nullptr);
  EXPECT_EQ(kept_with_map(copy), nullptr);
  ends.last.args.x = y;
  const Tensor from_kept = ends.last.run().to(at::kDouble);
  ends.last.args.x = copy;
  EXPECT_LT(end_error(ends.last.run(), from_kept), 5e-3);
}

INSTANTIATE_TEST_SUITE_P(WithGradientsOrNot, Conv2dEndsGpuTest, ::testing::Bool());

TEST_F(Conv2dEndsGpuTest, GradientsBesideHaveTheBitsOfTheBackwardPassAlone) {
  const c10::impl::VirtualGuardImpl device(at::kCUDA);
  const c10::StreamGuard guard(device.getStreamFromGlobalPool(device.getDevice()));
  Ends ends;
  const std::vector<Tensor> alone = ends.gradients(/*beside=*/false);
  for (int again = 0; again < 5; ++again) {
    const std::vector<Tensor> beside = ends.gradients(/*beside=*/true);
    for (size_t i = 0; i < alone.size(); ++i) {
      EXPECT_TRUE(at::equal(beside[i], alone[i])) << "leaf " << i << ", time " << again;
    }
  }
}

}  // namespace
}  // namespace ddpm
