#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/cpu/packed_weight.h"
#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm {
namespace {

/// A convolution as a res block or an upsampler has it.
struct OnePassCase {
  int64_t images, side, channels, rest_channels, out_channels;
  bool norm = true, scale_shift = false, residual = false, upsampled = false;
  int64_t shortcut_channels = 0, shortcut_rest = 0;
};

const at::TensorOptions kBf16 = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);

Tensor random_map(int64_t images, int64_t channels, int64_t side, double mean = 0.0) {
  return (at::randn({images, channels, side, side}, kBf16) + mean)
      .contiguous(at::MemoryFormat::ChannelsLast);
}

/// Its tensors, which the arguments point to.
struct OnePass {
  GroupNormSiluArgs norm;
  Conv2dArgs shortcut, args;
  PackedWeight packed, packed_shortcut;

  explicit OnePass(const OnePassCase& c) {
    const int64_t in = c.channels + c.rest_channels;
    const int64_t side = c.upsampled ? c.side / 2 : c.side;
    args.x = random_map(c.images, c.channels, side, /*mean=*/0.5);
    if (c.rest_channels > 0) args.x_rest = random_map(c.images, c.rest_channels, side);
    args.weight = random_map(c.out_channels, in, /*side=*/3);
    args.padding = 1;
    args.upsampled = c.upsampled;
    if (c.residual) args.residual = random_map(c.images, c.out_channels, c.side);
    if (c.norm) add_norm(c, in);
    if (c.shortcut_channels > 0) add_shortcut(c);
    if (c.scale_shift || c.shortcut_channels > 0) {
      args.bias = at::randn({c.out_channels}, kBf16);
    } else {
      args.image_bias = at::randn({c.images, c.out_channels}, kBf16);
    }
  }

  /// Packed here, where the tensors stay.
  void pack() {
    packed = PackedWeight::of_conv2d(args.weight, /*stride=*/1, /*padding=*/1, args.upsampled);
    args.packed = &packed;
    if (args.norm != nullptr) args.norm = &norm;
    if (args.shortcut == nullptr) return;
    packed_shortcut = PackedWeight::of_conv2d(shortcut.weight, /*stride=*/1, /*padding=*/0);
    shortcut.packed = &packed_shortcut;
    args.shortcut = &shortcut;
  }

 private:
  void add_norm(const OnePassCase& c, int64_t in) {
    norm.weight = at::randn({in}, kBf16);
    norm.bias = at::randn({in}, kBf16);
    if (c.scale_shift) {
      const Tensor both = at::randn({c.images, 2 * in}, kBf16);
      norm.scale = both.narrow(/*dim=*/1, 0, in);
      norm.shift = both.narrow(/*dim=*/1, in, in);
    }
    args.norm = &norm;
  }
  void add_shortcut(const OnePassCase& c) {
    shortcut.x = random_map(c.images, c.shortcut_channels, c.side);
    if (c.shortcut_rest > 0) shortcut.x_rest = random_map(c.images, c.shortcut_rest, c.side);
    shortcut.weight = random_map(c.out_channels, c.shortcut_channels + c.shortcut_rest, /*side=*/1);
    args.residual_bias = at::randn({c.out_channels}, kBf16);
    args.shortcut = &shortcut;
  }
};

/// The same in float64, without packed weights.
Tensor exact_result(const OnePass& c) {
  GroupNormSiluArgs norm = c.norm;
  Conv2dArgs shortcut = c.shortcut;
  Conv2dArgs args = c.args;
  for (Tensor* tensor : {&norm.weight, &norm.bias, &norm.scale, &norm.shift, &shortcut.x,
                         &shortcut.x_rest, &shortcut.weight, &args.x, &args.x_rest, &args.weight,
                         &args.bias, &args.image_bias, &args.residual, &args.residual_bias}) {
    if (tensor->defined()) *tensor = tensor->to(at::kDouble);
  }
  args.packed = shortcut.packed = nullptr;
  if (args.norm != nullptr) args.norm = &norm;
  if (args.shortcut != nullptr) args.shortcut = &shortcut;
  return conv2d(args);
}

bool has_the_kernel() {
  const Tensor weight = random_map(128, 128, /*side=*/3);
  return PackedWeight::of_conv2d(weight, /*stride=*/1, /*padding=*/1).is_of({weight});
}

double error_of(const Tensor& y, const Tensor& expected) {
  EXPECT_EQ(y.sizes(), expected.sizes());
  return ((y.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

TEST(Conv2dWarpgroupGpuTest, ResultIsThatOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  if (!has_the_kernel()) GTEST_SKIP() << "not a Hopper GPU";
  const at::NoGradGuard no_grad;
  at::manual_seed(3);
  const OnePassCase cases[] = {{16, 32, 128, 0, 128},
                               {16, 32, 128, 0, 128, true, false, true},
                               {17, 32, 256, 128, 128},
                               {40, 16, 256, 256, 256},
                               {40, 16, 256, 0, 256, true, true, true},
                               {123, 8, 256, 256, 256},
                               {122, 8, 128, 0, 256, true, false, true},
                               {4, 48, 96, 32, 256},
                               {40, 16, 256, 0, 256, false, false, false, true},
                               {16, 32, 128, 0, 128, false, false, false, true},
                               {40, 16, 256, 0, 256, true, false, false, false, 256, 128},
                               {16, 32, 128, 0, 128, true, true, false, false, 64, 0},
                               {125, 8, 256, 0, 256, true, false, false, false, 128, 32},
                               {64, 4, 256, 0, 256, true, false, true},
                               {65, 4, 256, 256, 256},
                               {16, 4, 128, 0, 128, true, false, true},
                               {17, 4, 512, 512, 128},
                               {50, 4, 96, 32, 128},
                               {20, 4, 256, 0, 256, false, false, true},
                               {109, 4, 256, 0, 256, true, true, true},
                               {33, 4, 256, 0, 256, true, false, false, false, 256, 256},
                               {250, 4, 256, 0, 256, true, true, false, false, 128, 32},
                               {1101, 4, 256, 256, 256, true, false, true}};
  for (const OnePassCase& c : cases) {
    OnePass one(c);
    one.pack();
    ASSERT_TRUE(conv2d_is_one_pass(one.args)) << c.images << " " << c.side << " " << c.channels;
    const Tensor expected = exact_result(one);
    static_cast<void>(at::full_like(expected, std::numeric_limits<double>::quiet_NaN()));
    EXPECT_LT(error_of(conv2d(one.args), expected), 6e-3)
        << c.images << " " << c.side << " " << c.channels << " " << c.rest_channels << " "
        << c.shortcut_channels;
  }
}

// The sums that one convolution leaves are those that the next one's norm needs.
TEST(Conv2dWarpgroupGpuTest, NextNormTakesTheSumsOfTheLastResult) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  if (!has_the_kernel()) GTEST_SKIP() << "not a Hopper GPU";
  const at::NoGradGuard no_grad;
  at::manual_seed(4);
  for (const OnePassCase& c : {OnePassCase{16, 32, 128, 0, 128}, OnePassCase{121, 8, 128, 0, 128},
                               OnePassCase{61, 4, 256, 0, 256}, OnePassCase{17, 4, 128, 0, 128}}) {
    OnePass first(c), second({c.images, c.side, c.channels, c.channels, c.out_channels});
    first.pack();
    const Tensor y = conv2d(first.args);
    second.args.x = y;
    second.pack();
    const Tensor from_kept = conv2d(second.args);
    second.args.x = y.clone();
    EXPECT_LT(error_of(from_kept, conv2d(second.args).to(at::kDouble)), 1e-3) << c.side;
    EXPECT_LT(error_of(from_kept, exact_result(second)), 6e-3) << c.side;
    y.mul_(2.0).add_(1.0);  // they count no longer
    second.args.x = y;
    EXPECT_LT(error_of(conv2d(second.args), exact_result(second)), 6e-3) << c.side;
  }
}

TEST(Conv2dWarpgroupGpuTest, MapsFarFromZeroKeepTheirNorm) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  if (!has_the_kernel()) GTEST_SKIP() << "not a Hopper GPU";
  const at::NoGradGuard no_grad;
  at::manual_seed(5);
  for (const OnePassCase& c : {OnePassCase{16, 32, 128, 0, 128}, OnePassCase{37, 4, 256, 0, 256}}) {
    OnePass one(c);
    one.args.x.add_(20.0);
    one.pack();
    EXPECT_LT(error_of(conv2d(one.args), exact_result(one)), 6e-3) << c.side;
  }
}

TEST(Conv2dWarpgroupGpuTest, NormTakesWhatSumsAnotherKernelLeft) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  if (!has_the_kernel()) GTEST_SKIP() << "not a Hopper GPU";
  const at::NoGradGuard no_grad;
  at::manual_seed(6);
  OnePass next({16, 4, 128, 128, 128});
  Conv2dArgs other{.x = random_map(16, 64, /*side=*/4), .weight = random_map(128, 64, /*side=*/3)};
  other.padding = 1;
  next.args.x = conv2d(other);
  next.pack();
  ASSERT_TRUE(conv2d_is_one_pass(next.args));
  EXPECT_LT(error_of(conv2d(next.args), exact_result(next)), 6e-3);
}

TEST(Conv2dWarpgroupGpuTest, ChangedWeightsArePackedAgain) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  if (!has_the_kernel()) GTEST_SKIP() << "not a Hopper GPU";
  OnePass one({16, 32, 128, 0, 128});
  one.pack();
  EXPECT_FALSE(conv2d_is_one_pass(one.args));
  const at::NoGradGuard no_grad;
  EXPECT_TRUE(conv2d_is_one_pass(one.args));
  one.args.weight.mul_(2.0);
  EXPECT_TRUE(conv2d_is_one_pass(one.args));
  EXPECT_LT(error_of(conv2d(one.args), exact_result(one)), 6e-3);
}

}  // namespace
}  // namespace ddpm
