#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <limits>

#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm {
namespace {

/// A network's first convolution, or its last with the norm before it.
struct EndCase {
  int64_t images, height, width, channels, out_channels;
  bool norm = false, bias = true;
};

const at::TensorOptions kEndOptions = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);

Tensor end_map(at::IntArrayRef sizes) {
  return at::randn(sizes, kEndOptions).contiguous(at::MemoryFormat::ChannelsLast);
}

/// The relative error of the result, from the same rounded inputs in float64.
double end_error(const EndCase& c) {
  Conv2dArgs args{.x = end_map({c.images, c.channels, c.height, c.width}) + 0.5};
  args.weight = end_map({c.out_channels, c.channels, 3, 3});
  args.padding = 1;
  if (c.bias) args.bias = at::randn({c.out_channels}, kEndOptions);
  GroupNormSiluArgs norm;
  norm.weight = at::randn({c.channels}, kEndOptions);
  norm.bias = at::randn({c.channels}, kEndOptions);
  if (c.norm) args.norm = &norm;
  Conv2dArgs exact = args;
  GroupNormSiluArgs exact_norm = norm;
  for (Tensor* tensor :
       {&exact.x, &exact.weight, &exact.bias, &exact_norm.weight, &exact_norm.bias}) {
    if (tensor->defined()) *tensor = tensor->to(at::kDouble);
  }
  if (c.norm) exact.norm = &exact_norm;
  const Tensor expected = conv2d(exact);
  static_cast<void>(at::full_like(expected, std::numeric_limits<double>::quiet_NaN()));
  const Tensor y = conv2d(args);
  EXPECT_EQ(y.sizes(), expected.sizes());
  EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
  return ((y.to(at::kDouble) - expected).norm() / expected.norm()).item<double>();
}

TEST(Conv2dFewChannelsGpuTest, ResultIsThatOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const at::NoGradGuard no_grad;
  at::manual_seed(6);
  const EndCase cases[] = {{5, 32, 32, 3, 128},
                           {2, 24, 40, 1, 256},
                           {3, 8, 8, 2, 128, false, false},
                           {5, 32, 32, 128, 3, true},
                           {2, 16, 48, 64, 1, true, false},
                           {1, 64, 32, 128, 8, true},
                           {2, 20, 16, 128, 3, true},  // these three by other ways
                           {2, 32, 32, 4, 128},
                           {2, 30, 30, 3, 128}};
  for (const EndCase& c : cases) {
    EXPECT_LT(end_error(c), 6e-3) << c.height << " " << c.width << " " << c.channels << " "
                                  << c.out_channels;
  }
}

// The next norm finds the sums of the first convolution's result.
TEST(Conv2dFewChannelsGpuTest, NormOfTheFirstResultIsThatOfFloat64) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const at::NoGradGuard no_grad;
  at::manual_seed(7);
  const Tensor y = conv2d({.x = end_map({2, 3, 32, 32}),
                           .weight = end_map({128, 3, 3, 3}),
                           .bias = at::randn({128}, kEndOptions),
                           .padding = 1});
  GroupNormSiluArgs norm;
  norm.weight = at::randn({128}, kEndOptions);
  norm.bias = at::randn({128}, kEndOptions);
  Conv2dArgs last{.x = y, .weight = end_map({3, 128, 3, 3}), .padding = 1, .norm = &norm};
  const Tensor from_kept = conv2d(last);
  last.x = y.clone();
  EXPECT_TRUE(at::allclose(from_kept.to(at::kFloat), conv2d(last).to(at::kFloat), 1e-2, 1e-2));
}

}  // namespace
}  // namespace ddpm
