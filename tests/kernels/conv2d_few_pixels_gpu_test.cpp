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

/// A convolution of few pixels as a res block, an upsampler or a downsampler has it.
struct FewPixelsCase {
  int64_t images, side, channels, rest_channels, out_channels;
  bool norm = true, scale_shift = false, residual = false, upsampled = false;
  int64_t shortcut_channels = 0, shortcut_rest = 0, stride = 1, groups = 32, kernel = 3;
  bool silu = true;
};

const at::TensorOptions kFewPixelsOptions = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);

Tensor few_pixels_map(int64_t images, int64_t channels, int64_t side, double mean = 0.0) {
  return (at::randn({images, channels, side, side}, kFewPixelsOptions) + mean)
      .contiguous(at::MemoryFormat::ChannelsLast);
}
Tensor few_pixels_row(at::IntArrayRef sizes) { return at::randn(sizes, kFewPixelsOptions); }

/// Its tensors, which the arguments point to.
struct FewPixels {
  GroupNormSiluArgs norm;
  Conv2dArgs shortcut, args;

  explicit FewPixels(const FewPixelsCase& c) {
    const int64_t in = c.channels + c.rest_channels, out = c.out_channels;
    const int64_t side = c.upsampled ? c.side / 2 : c.side, out_side = c.side / c.stride;
    args.x = few_pixels_map(c.images, c.channels, side, /*mean=*/0.5);
    if (c.rest_channels > 0) args.x_rest = few_pixels_map(c.images, c.rest_channels, side);
    args.weight = few_pixels_map(out, in, c.kernel);
    args.stride = c.stride;
    args.padding = c.kernel / 2;
    args.upsampled = c.upsampled;
    args.bias = few_pixels_row({out});
    if (!c.upsampled) args.image_bias = few_pixels_row({c.images, out});
    if (c.residual) args.residual = few_pixels_map(c.images, out, out_side);
    if (c.norm) {
      norm.num_groups = c.groups;
      norm.silu = c.silu;
      norm.weight = few_pixels_row({in});
      norm.bias = few_pixels_row({in});
      if (c.scale_shift) {
        const Tensor both = few_pixels_row({c.images, 2 * in});
        norm.scale = both.narrow(/*dim=*/1, 0, in);
        norm.shift = both.narrow(/*dim=*/1, in, in);
      }
      args.norm = &norm;
    }
    if (c.shortcut_channels == 0) return;
    shortcut.x = few_pixels_map(c.images, c.shortcut_channels, out_side);
    if (c.shortcut_rest > 0) shortcut.x_rest = few_pixels_map(c.images, c.shortcut_rest, out_side);
    shortcut.weight = few_pixels_map(out, c.shortcut_channels + c.shortcut_rest, /*side=*/1);
    args.residual_bias = few_pixels_row({out});
    args.shortcut = &shortcut;
  }
  FewPixels(const FewPixels&) = delete;
  FewPixels& operator=(const FewPixels&) = delete;

  /// The same in float64.
  Tensor exact() const {
    GroupNormSiluArgs exact_norm = norm;
    Conv2dArgs exact_shortcut = shortcut, exact_args = args;
    for (Tensor* tensor :
         {&exact_norm.weight, &exact_norm.bias, &exact_norm.scale, &exact_norm.shift,
          &exact_shortcut.x, &exact_shortcut.x_rest, &exact_shortcut.weight, &exact_args.x,
          &exact_args.x_rest, &exact_args.weight, &exact_args.bias, &exact_args.image_bias,
          &exact_args.residual, &exact_args.residual_bias}) {
      if (tensor->defined()) *tensor = tensor->to(at::kDouble);
    }
    if (args.norm != nullptr) exact_args.norm = &exact_norm;
    if (args.shortcut != nullptr) exact_args.shortcut = &exact_shortcut;
    return conv2d(exact_args);
  }
};

/// Hopper's GPUs, which have clusters, pack weights in a way of their own.
bool gpu_has_clusters() {
  const Tensor weight = few_pixels_map(128, 128, /*side=*/3);
  return PackedWeight::of_conv2d(weight, /*stride=*/1, /*padding=*/1).is_of({weight});
}

double few_pixels_error(const Tensor& y, const Tensor& expected) {
  EXPECT_EQ(y.sizes(), expected.sizes());
  return ((y.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

/// Leaves NaN in the memory that the next result of that many values is likely to take.
void poison_memory(const Tensor& like) {
  static_cast<void>(
      at::full(like.sizes(), std::numeric_limits<double>::quiet_NaN(), kFewPixelsOptions));
}

constexpr double kFewPixelsError = 6e-3;  // bf16 rounds what goes in and what comes out

// All ways in which sums are split: tiles of lines, of one and of several images, parts of which
// some or all add up pixels, groups of channels in both maps and in several blocks.
TEST(Conv2dFewPixelsGpuTest, ResultIsThatOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  if (!gpu_has_clusters()) GTEST_SKIP() << "not a Hopper GPU";
  const at::NoGradGuard no_grad;
  at::manual_seed(3);
  const FewPixelsCase cases[] = {{1, 32, 128, 0, 128},
                                 {1, 32, 256, 128, 128},
                                 {1, 32, 128, 0, 128, true, true, true},
                                 {1, 32, 128, 0, 128, true, false, false, false, 256, 128},
                                 {1, 16, 256, 0, 256, true, false, true},
                                 {1, 16, 256, 256, 256},
                                 {1, 16, 256, 0, 256, false, false, false, true},
                                 {1, 32, 256, 0, 256, false, false, false, true},
                                 {1, 32, 128, 0, 128, false, false, false, false, 0, 0, 2},
                                 {1, 8, 256, 256, 256, true, true},
                                 {8, 8, 256, 0, 256, true, false, true},
                                 {3, 8, 256, 0, 256, false, false, false, true},
                                 {1, 4, 512, 0, 256, true, false, false, false, 512, 0},
                                 {3, 4, 256, 0, 256, true, false, true},
                                 {5, 4, 128, 128, 256, true, true},
                                 {8, 4, 256, 256, 256, true, false, false, false, 256, 256},
                                 {2, 12, 192, 0, 192, true, true, true},
                                 {2, 16, 64, 0, 64, true, false, false, false, 64, 0, 1, 1},
                                 {4, 2, 64, 0, 64}};
  for (const FewPixelsCase& c : cases) {
    const FewPixels one(c);
    ASSERT_TRUE(conv2d_is_one_pass(one.args)) << c.images << " " << c.side << " " << c.channels;
    const Tensor expected = one.exact();
    poison_memory(expected);
    EXPECT_LT(few_pixels_error(conv2d(one.args), expected), kFewPixelsError)
        << c.images << " " << c.side << " " << c.channels << " " << c.rest_channels << " "
        << c.shortcut_channels;
  }
}

// Attention's products, with the norm before them or the residual behind, and a network's last
// convolution.
TEST(Conv2dFewPixelsGpuTest, SinglePixelsAndFewChannelsAreTakenToo) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  if (!gpu_has_clusters()) GTEST_SKIP() << "not a Hopper GPU";
  const at::NoGradGuard no_grad;
  at::manual_seed(8);
  FewPixelsCase projection{1, 16, 256, 0, 768}, last{1, 16, 256, 0, 256, false, false, true};
  projection.kernel = last.kernel = 1;
  projection.silu = false;
  FewPixelsCase small = projection;
  small.images = 3;
  small.side = 4;
  for (const FewPixelsCase& c : {projection, last, small, FewPixelsCase{1, 32, 128, 0, 3},
                                 FewPixelsCase{2, 8, 64, 32, 5, true, true, true},
                                 FewPixelsCase{3, 4, 64, 0, 12, true, false, true}}) {
    const FewPixels one(c);
    ASSERT_TRUE(conv2d_is_one_pass(one.args)) << c.side << " " << c.out_channels;
    const Tensor expected = one.exact();
    poison_memory(expected);
    EXPECT_LT(few_pixels_error(conv2d(one.args), expected), kFewPixelsError)
        << c.images << " " << c.side << " " << c.channels << " " << c.out_channels;
  }
}

// The sums that one convolution leaves are those that the next one's norm needs.
TEST(Conv2dFewPixelsGpuTest, NextNormTakesTheSumsOfTheLastResult) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  if (!gpu_has_clusters()) GTEST_SKIP() << "not a Hopper GPU";
  const at::NoGradGuard no_grad;
  at::manual_seed(4);
  for (const FewPixelsCase& c :
       {FewPixelsCase{1, 32, 128, 0, 128}, FewPixelsCase{1, 16, 256, 0, 256},
        FewPixelsCase{3, 8, 256, 0, 256}, FewPixelsCase{7, 4, 256, 0, 256}}) {
    const FewPixels first(c);
    FewPixels second({c.images, c.side, c.channels, c.channels, c.out_channels});
    const Tensor y = conv2d(first.args);
    second.args.x = y;
    const Tensor from_kept = conv2d(second.args);
    second.args.x = y.clone();
    EXPECT_LT(few_pixels_error(from_kept, conv2d(second.args).to(at::kDouble)), 1e-3) << c.side;
    EXPECT_LT(few_pixels_error(from_kept, second.exact()), kFewPixelsError) << c.side;
    y.mul_(2.0).add_(1.0);  // they count no longer
    second.args.x = y;
    EXPECT_LT(few_pixels_error(conv2d(second.args), second.exact()), kFewPixelsError) << c.side;
  }
}

// Either kernel leaves sums of other parts.
TEST(Conv2dFewPixelsGpuTest, KernelOfManyPixelsTakesItsResult) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  if (!gpu_has_clusters()) GTEST_SKIP() << "not a Hopper GPU";
  const at::NoGradGuard no_grad;
  at::manual_seed(5);
  const FewPixels few({1, 64, 64, 0, 32});
  ASSERT_TRUE(conv2d_is_one_pass(few.args));
  FewPixels next({1, 64, 32, 96, 512});
  next.args.x = conv2d(few.args);
  const PackedWeight packed =
      PackedWeight::of_conv2d(next.args.weight, /*stride=*/1, /*padding=*/1);
  next.args.packed = &packed;
  next.args.bias = Tensor();
  ASSERT_TRUE(conv2d_is_one_pass(next.args));
  EXPECT_LT(few_pixels_error(conv2d(next.args), next.exact()), kFewPixelsError);
}

TEST(Conv2dFewPixelsGpuTest, MapsFarFromZeroKeepTheirNorm) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  if (!gpu_has_clusters()) GTEST_SKIP() << "not a Hopper GPU";
  const at::NoGradGuard no_grad;
  at::manual_seed(6);
  FewPixels one({1, 16, 256, 0, 256});
  one.args.x.add_(20.0);
  EXPECT_LT(few_pixels_error(conv2d(one.args), one.exact()), kFewPixelsError);
}

TEST(Conv2dFewPixelsGpuTest, SameArgumentsGiveTheSameBits) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  if (!gpu_has_clusters()) GTEST_SKIP() << "not a Hopper GPU";
  const at::NoGradGuard no_grad;
  at::manual_seed(7);
  const FewPixels one({1, 8, 256, 256, 256});
  const Tensor y = conv2d(one.args);
  for (int i = 0; i < 20; ++i) EXPECT_TRUE(at::equal(y, conv2d(one.args)));
}

}  // namespace
}  // namespace ddpm
