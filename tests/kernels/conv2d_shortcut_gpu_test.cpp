#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "ddpm/kernels/conv2d.h"

namespace ddpm {
namespace {

/// A res block's last convolution, and its shortcut's.
struct ShortcutCase {
  int64_t images, side, channels, out_channels, shortcut_channels, rest_channels;
};

Tensor as_double(const Tensor& tensor) {
  return tensor.defined() ? tensor.to(at::kCPU, at::kDouble) : tensor;
}

Tensor shortcut_map(int64_t images, int64_t channels, int64_t side) {
  return at::randn({images, channels, side, side},
                   at::TensorOptions(at::kCUDA).dtype(at::kBFloat16))
      .contiguous(at::MemoryFormat::ChannelsLast);
}

/// The relative error of the result, from the same rounded inputs in float64.
double error_of(const ShortcutCase& c) {
  at::manual_seed(4);
  Conv2dArgs side{.x = shortcut_map(c.images, c.shortcut_channels, c.side)};
  if (c.rest_channels > 0) side.x_rest = shortcut_map(c.images, c.rest_channels, c.side);
  side.weight = at::randn({c.out_channels, c.shortcut_channels + c.rest_channels, 1, 1},
                          side.x.options().memory_format(std::nullopt));
  Conv2dArgs args{.x = shortcut_map(c.images, c.channels, c.side)};
  args.weight = shortcut_map(c.out_channels, c.channels, /*side=*/3);
  args.bias = at::randn({c.out_channels}, side.weight.options());
  args.residual_bias = at::randn({c.out_channels}, side.weight.options());
  args.padding = 1;
  args.shortcut = &side;
  Conv2dArgs exact_side = side;
  Conv2dArgs exact = args;
  for (Tensor* tensor : {&exact_side.x, &exact_side.x_rest, &exact_side.weight, &exact.x,
                         &exact.weight, &exact.bias, &exact.residual_bias}) {
    *tensor = as_double(*tensor);
  }
  exact.shortcut = &exact_side;
  const Tensor expected = conv2d(exact);
  static_cast<void>(at::full_like(args.x, std::numeric_limits<double>::quiet_NaN()));
  const Tensor y = as_double(conv2d(args));
  EXPECT_EQ(y.sizes(), expected.sizes());
  return ((y - expected).norm() / expected.norm()).item<double>();
}

TEST(Conv2dShortcutGpuTest, ResultIsThatOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const at::NoGradGuard no_grad;
  const ShortcutCase cases[] = {
      {1, 16, 256, 256, 256, 256},  // as in a network of CIFAR-10
      {1, 16, 256, 256, 256, 128}, {1, 16, 256, 256, 128, 0},  {1, 32, 128, 128, 128, 128},
      {1, 32, 128, 128, 256, 128}, {1, 8, 256, 256, 256, 256}, {1, 4, 256, 256, 256, 256},
      {3, 4, 64, 64, 32, 96},      {7, 6, 64, 64, 64, 0},      {1, 30, 64, 32, 16, 48},
      {2, 5, 32, 64, 24, 40},      {64, 16, 128, 128, 64, 64}};  // the last two apart
  for (const ShortcutCase& c : cases) {
    EXPECT_LT(error_of(c), 1e-2) << c.images << " " << c.side << " " << c.channels << " "
                                 << c.shortcut_channels << " " << c.rest_channels;
  }
}

TEST(Conv2dShortcutGpuTest, ResultIsThatOfFloat64WithGradients) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  EXPECT_LT(error_of({1, 16, 256, 256, 256, 128}), 1e-2);
}

}  // namespace
}  // namespace ddpm
