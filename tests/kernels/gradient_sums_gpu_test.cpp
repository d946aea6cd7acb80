#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/cpu/packed_weight.h"
#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm {
namespace {

const at::TensorOptions kBiasedNumbers = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);

Tensor biased_map(at::IntArrayRef sizes, double scale = 1.0) {
  return (at::randn(sizes, kBiasedNumbers) * scale).contiguous(at::MemoryFormat::ChannelsLast);
}

enum class SecondReader { kNone, kResidual, kShortcut };

/// Whether the first map is read once more behind the block, beside its result.
enum class ThirdReader { kNone, kNorm };

/// Convolutions with biases, whose results come into a res block side by side.
struct SumsCase {
  std::string name;
  SecondReader reader;
  int64_t images, side, channels, rest_channels, out_channels;
  ThirdReader third = ThirdReader::kNone;
};
void PrintTo(const SumsCase& c, std::ostream* out) { *out << c.name; }

std::vector<SumsCase> sums_cases() {
  return {{"Residual", SecondReader::kResidual, 16, 32, 128, 0, 128},
          {"ShortcutOfTwoMaps", SecondReader::kShortcut, 17, 32, 256, 128, 128},
          {"ShortcutOfOne", SecondReader::kShortcut, 40, 16, 128, 0, 256},
          {"ReadLater", SecondReader::kResidual, 16, 32, 128, 0, 128, ThirdReader::kNorm},
          {"ShortcutReadLater", SecondReader::kShortcut, 4, 8, 64, 0, 128, ThirdReader::kNorm},
          {"ReadOnce", SecondReader::kNone, 16, 32, 128, 0, 128},
          {"SmallMaps", SecondReader::kResidual, 5, 4, 256, 0, 256},
          {"SmallMapsOfTwo", SecondReader::kShortcut, 3, 4, 512, 256, 64},
          {"OddPixels", SecondReader::kShortcut, 2, 7, 64, 32, 64},
          {"UnevenShares", SecondReader::kShortcut, 3, 32, 136, 120, 64},
          {"FewChannels", SecondReader::kResidual, 2, 6, 8, 0, 8}};
}

GroupNormSiluArgs drawn_norm(int64_t channels) {
  GroupNormSiluArgs norm;
  norm.num_groups = 8;
  norm.weight = at::randn({channels}, kBiasedNumbers);
  norm.bias = at::randn({channels}, kBiasedNumbers);
  return norm;
}

/// What is done to the gradient of the first map when it is complete.
using Hook = std::function<void(const Tensor&)>;

struct BiasedMaps {
  SecondReader reader;
  ThirdReader third;
  Tensor x, weight, bias, rest_weight, rest_bias, next_weight, last_weight, last_bias,
      shortcut_weight, joined_weight, d_y;
  GroupNormSiluArgs norm, last_norm, joined_norm;

  explicit BiasedMaps(const SumsCase& c) : reader(c.reader), third(c.third) {
    const int64_t in = c.channels + c.rest_channels;
    x = biased_map({c.images, 8, c.side, c.side});
    weight = biased_map({c.channels, 8, 3, 3}, 0.2);
    bias = at::randn({c.channels}, kBiasedNumbers);
    if (c.rest_channels > 0) {
      rest_weight = biased_map({c.rest_channels, 8, 3, 3}, 0.2);
      rest_bias = at::randn({c.rest_channels}, kBiasedNumbers);
    }
    norm = drawn_norm(in);
    next_weight = biased_map({c.out_channels, in, 3, 3}, 0.05);
    last_norm = drawn_norm(c.out_channels);
    last_weight = biased_map({c.out_channels, c.out_channels, 3, 3}, 0.05);
    last_bias = at::randn({c.out_channels}, kBiasedNumbers);
    shortcut_weight = biased_map({c.out_channels, in, 1, 1}, 0.1);
    joined_norm = drawn_norm(c.channels + c.out_channels);
    joined_weight = biased_map({c.out_channels, c.channels + c.out_channels, 3, 3}, 0.05);
    d_y = biased_map({c.images, c.out_channels, c.side, c.side}) + 0.5;
  }

  BiasedMaps exact() const {
    BiasedMaps exact = *this;
    for (Tensor* tensor :
         {&exact.x, &exact.weight, &exact.bias, &exact.rest_weight, &exact.rest_bias,
          &exact.next_weight, &exact.last_weight, &exact.last_bias, &exact.shortcut_weight,
          &exact.joined_weight, &exact.d_y, &exact.norm.weight, &exact.norm.bias,
          &exact.last_norm.weight, &exact.last_norm.bias, &exact.joined_norm.weight,
          &exact.joined_norm.bias}) {
      if (tensor->defined()) *tensor = tensor->to(at::kDouble);
    }
    return exact;
  }

  /// The result of the block and of what comes after.
  Tensor block(const Tensor& map, const Tensor& rest) const {
    const Conv2dFork fork =
        conv2d_fork({.x = map, .x_rest = rest, .weight = next_weight, .padding = 1, .norm = &norm});
    const Conv2dArgs shortcut{.x = fork.x, .x_rest = fork.x_rest, .weight = shortcut_weight};
    Conv2dArgs last{
        .x = fork.y, .weight = last_weight, .bias = last_bias, .padding = 1, .norm = &last_norm};
    if (reader == SecondReader::kResidual) last.residual = fork.x;
    if (reader == SecondReader::kShortcut) last.shortcut = &shortcut;
    const Tensor y = conv2d(last);
    if (third == ThirdReader::kNone) return y;
    return conv2d({.x = y,
                   .x_rest = fork.x_later,
                   .weight = joined_weight,
                   .padding = 1,
                   .norm = &joined_norm});
  }

  /// Those of the biases, one behind the other.
  Tensor bias_gradients(const Hook& hook = {}) {
    for (Tensor* each : {&bias, &rest_bias, &last_bias}) {
      if (each->defined()) *each = each->detach().requires_grad_(true);
    }
    const Tensor map = conv2d({.x = x, .weight = weight, .bias = bias, .padding = 1});
    if (hook) map.register_hook([&](const Tensor& gradient) { hook(gradient); });
    Tensor rest;
    if (rest_weight.defined()) {
      rest = conv2d({.x = x, .weight = rest_weight, .bias = rest_bias, .padding = 1});
    }
    torch::autograd::backward({block(map, rest)}, {d_y});
    std::vector<Tensor> gradients{bias.grad()};
    if (rest.defined()) gradients.push_back(rest_bias.grad());
    return at::cat(gradients);
  }
};

double bias_error(const Tensor& got, const Tensor& expected) {
  return ((got.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

/// Overwrites a map in a way that LibTorch does not learn of.
void wipe_map(const Tensor& map) {
  at::from_blob(map.data_ptr(), {map.numel()}, kBiasedNumbers).zero_();
}

bool keeps_sums() {
  const Tensor weight = biased_map({128, 128, 3, 3});
  return PackedWeight::of_conv2d(weight, /*stride=*/1, /*padding=*/1).is_of({weight});
}

class GradientSumsGpuTest : public ::testing::TestWithParam<SumsCase> {
 protected:
  void SetUp() override {
    if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
    if (!keeps_sums()) GTEST_SKIP() << "not a Hopper GPU";
    at::globalContext().setDeterministicCuDNN(true);
    at::manual_seed(8);
  }
};

// Rounding on the way through three convolutions allows for 2 percent.
TEST_P(GradientSumsGpuTest, BiasGradientsAreThoseOfFloat64) {
  BiasedMaps maps(GetParam());
  const Tensor expected = maps.exact().bias_gradients();
  const Tensor got = maps.bias_gradients();
  EXPECT_LT(bias_error(got, expected), 2e-2);
  EXPECT_TRUE(at::equal(got, maps.bias_gradients()));
}

TEST_P(GradientSumsGpuTest, BiasGradientsNeedNoPassOverTheMap) {
  BiasedMaps maps(GetParam());
  const Tensor expected = maps.bias_gradients();
  EXPECT_TRUE(at::equal(maps.bias_gradients(wipe_map), expected));
}

TEST_P(GradientSumsGpuTest, KeptSumsAreThoseOfTheMap) {
  BiasedMaps maps(GetParam());
  Tensor sums;
  const Tensor kept = maps.bias_gradients([&](const Tensor& gradient) {
    sums = gradient.to(at::kDouble).sum({0, 2, 3});
  });
  EXPECT_LT(bias_error(kept.narrow(/*dim=*/0, 0, sums.size(0)), sums), 1e-2);
}

TEST_P(GradientSumsGpuTest, GradientThatIsWrittenAgainIsSummedAgain) {
  BiasedMaps maps(GetParam());
  const int64_t channels = maps.bias.size(0);
  const Tensor once = maps.bias_gradients().narrow(/*dim=*/0, 0, channels);
  const Tensor got = maps.bias_gradients([](const Tensor& gradient) { gradient.mul_(2); })
                         .narrow(/*dim=*/0, 0, channels);
  EXPECT_LT(bias_error(got, 2 * once.to(at::kDouble)), 1e-2);
}

INSTANTIATE_TEST_SUITE_P(Shapes, GradientSumsGpuTest, ::testing::ValuesIn(sums_cases()),
                         [](const auto& test) { return test.param.name; });

/// That of the bias of a map which is also read beside the norm.
Tensor bias_gradient_of_two_readers(BiasedMaps all, const Tensor& d_map) {
  all.bias = all.bias.detach().requires_grad_(true);
  const Tensor map = conv2d({.x = all.x, .weight = all.weight, .bias = all.bias, .padding = 1});
  torch::autograd::backward({all.block(map, /*rest=*/{}), map * 3}, {all.d_y, d_map});
  return all.bias.grad();
}

// Autograd adds one gradient to the other, which had sums.
TEST(GradientSumsOfTwoReadersGpuTest, BiasGradientIsThatOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(9);
  const BiasedMaps maps(sums_cases().front());
  const Tensor expected = bias_gradient_of_two_readers(maps.exact(), maps.d_y.to(at::kDouble));
  EXPECT_LT(bias_error(bias_gradient_of_two_readers(maps, maps.d_y), expected), 2e-2);
}

}  // namespace
}  // namespace ddpm
