#include "ddpm/kernels/cpu/winograd_convolution.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <hwy/targets.h>
#include <ostream>
#include <stdexcept>
#include <string>
#include <vector>

#include "ddpm/kernels/cpu/winograd_gradient.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cpu {
namespace {

// Of the largest number that is expected. Measured are at most 3.2e-6.
constexpr double kTolerance = 1e-5;

struct WinogradCase {
  std::string name;
  std::vector<int64_t> x;
  int64_t out_channels;
  int64_t padding = 1;
  bool bias = true, residual = false;
};
std::ostream& operator<<(std::ostream& out, const WinogradCase& c) { return out << c.name; }

// Sides that are no multiple of a tile's; channels that are no multiple of a vector's, a block's or
// of what sums of gradients are kept for together; more tiles than stand together; few.
std::vector<WinogradCase> winograd_cases() {
  return {{"Whole", {2, 64, 32, 32}, 128, 1, true, true},
          {"OddSides", {3, 32, 17, 14}, 48},
          {"OddChannels", {1, 19, 16, 16}, 37, 1, true, true},
          {"MoreThanABlock", {2, 70, 12, 20}, 150, 1, false, true},
          {"OneTile", {1, 256, 4, 4}, 64},
          {"OnePixel", {1, 16, 1, 1}, 16},
          {"ManyTiles", {9, 32, 28, 28}, 32},
          {"WithoutPadding", {2, 32, 18, 11}, 40, 0},
          {"WidePadding", {2, 40, 9, 10}, 32, 2, true, true}};
}

Tensor draw_map(at::IntArrayRef sizes) {
  return at::randn(sizes).contiguous(at::MemoryFormat::ChannelsLast);
}

/// The largest error, as a share of the largest value that is expected.
double largest_error(const Tensor& got, const Tensor& expected) {
  return ((got.to(at::kDouble) - expected).abs().max() / expected.abs().max()).item<double>();
}

/// A case's tensors.
struct Maps {
  Tensor x, weight, bias, residual, expected;

  explicit Maps(const WinogradCase& c)
      : x(draw_map(c.x)), weight(draw_map({c.out_channels, c.x[1], 3, 3})) {
    if (c.bias) bias = at::randn({c.out_channels});
    expected = at::conv2d(x.to(at::kDouble), weight.to(at::kDouble),
                          c.bias ? bias.to(at::kDouble) : Tensor(), /*stride=*/1, c.padding);
    if (!c.residual) return;
    residual = draw_map(expected.sizes());
    expected = expected + residual.to(at::kDouble);
  }
  Tensor run(const WinogradCase& c) const {
    return convolve_winograd(x, winograd_weight_of(weight), bias, residual, c.padding);
  }
};

class WinogradConvolutionTest : public ::testing::TestWithParam<WinogradCase> {};

TEST_P(WinogradConvolutionTest, ResultIsThatOfFloat64) {
  const WinogradCase& c = GetParam();
  at::manual_seed(1);
  const Maps maps(c);
  const Tensor y = maps.run(c);
  EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_LE(largest_error(y, maps.expected), kTolerance);
}

TEST_P(WinogradConvolutionTest, AnImageHasTheBitsThatItHasAloneByAnyNumberOfThreads) {
  const WinogradCase& c = GetParam();
  at::manual_seed(2);
  const Maps maps(c);
  const Tensor all = maps.run(c);
  const int threads = at::get_num_threads();
  for (const int count : {1, 3}) {
    at::set_num_threads(count);
    for (int64_t image = 0; image < c.x[0]; ++image) {
      const auto alone = [&](const Tensor& map) {
        return map.defined() ? channels_last(map.narrow(/*dim=*/0, image, 1)) : map;
      };
      Maps one = maps;
      one.x = alone(maps.x);
      one.residual = alone(maps.residual);
      EXPECT_TRUE(at::equal(one.run(c), all.narrow(/*dim=*/0, image, 1))) << count << ' ' << image;
    }
    at::set_num_threads(threads);
  }
}

TEST_P(WinogradConvolutionTest, AnUpsampledMapIsReadAsItIs) {
  const WinogradCase& c = GetParam();
  at::manual_seed(3);
  const Maps maps(c);
  const Tensor large = maps.x.repeat_interleave(2, 2).repeat_interleave(2, 3);
  const WinogradWeight weight = winograd_weight_of(maps.weight);
  EXPECT_TRUE(
      at::equal(convolve_winograd(maps.x, weight, maps.bias, {}, c.padding, /*is_upsampled=*/true),
                convolve_winograd(channels_last(large), weight, maps.bias, {}, c.padding)));
}

TEST_P(WinogradConvolutionTest, GradientsAreThoseOfFloat64) {
  const WinogradCase& c = GetParam();
  at::manual_seed(4);
  const Maps maps(c);
  const Tensor d_y = draw_map(maps.expected.sizes());
  const Tensor x = maps.x.to(at::kDouble).requires_grad_(true);
  const Tensor weight = maps.weight.to(at::kDouble).requires_grad_(true);
  torch::autograd::backward({at::conv2d(x, weight, {}, /*stride=*/1, c.padding)},
                            {d_y.to(at::kDouble)});
  const Tensor d_x = convolve_winograd(d_y, turned_winograd_weight_of(maps.weight), /*bias=*/{},
                                       /*residual=*/{}, 2 - c.padding);
  EXPECT_LE(largest_error(d_x, x.grad()), kTolerance);
  const Tensor d_weight = winograd_weight_gradient(d_y, maps.x, c.padding);
  EXPECT_TRUE(d_weight.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_LE(largest_error(d_weight, weight.grad()), kTolerance);
  const int threads = at::get_num_threads();
  at::set_num_threads(1);
  EXPECT_TRUE(at::equal(winograd_weight_gradient(d_y, maps.x, c.padding), d_weight));
  at::set_num_threads(threads);
}

INSTANTIATE_TEST_SUITE_P(Cases, WinogradConvolutionTest, ::testing::ValuesIn(winograd_cases()),
                         [](const auto& test) { return test.param.name; });

/// Sees to it that a kernel is taken by one instruction set, until it ends.
class OneTarget {
 public:
  explicit OneTarget(int64_t target) { choose(target); }
  ~OneTarget() { choose(0); }

 private:
  static void choose(int64_t targets) {
    hwy::SetSupportedTargetsForTest(targets);
    hwy::GetChosenTarget().Update(hwy::SupportedTargets());
  }
};

TEST(WinogradConvolutionTargetsTest, EachInstructionSetGivesResultAndGradientsOfFloat64) {
  const WinogradCase c{"", {2, 70, 18, 13}, 150, 1, true, true};
  at::manual_seed(6);
  const Maps maps(c);
  const Tensor x = maps.x.to(at::kDouble).requires_grad_(true);
  const Tensor weight = maps.weight.to(at::kDouble).requires_grad_(true);
  const Tensor d_y = draw_map(maps.expected.sizes());
  torch::autograd::backward({at::conv2d(x, weight, {}, /*stride=*/1, c.padding)},
                            {d_y.to(at::kDouble)});
  for (const int64_t target : hwy::SupportedAndGeneratedTargets()) {
    const OneTarget only(target);
    EXPECT_LE(largest_error(maps.run(c), maps.expected), kTolerance) << hwy::TargetName(target);
    EXPECT_LE(largest_error(winograd_weight_gradient(d_y, maps.x, c.padding), weight.grad()),
              kTolerance)
        << hwy::TargetName(target);
    EXPECT_LE(largest_error(convolve_winograd(d_y, turned_winograd_weight_of(maps.weight), {}, {},
                                              2 - c.padding),
                            x.grad()),
              kTolerance)
        << hwy::TargetName(target);
  }
}

TEST(WinogradConvolutionArgumentsTest, OtherChannelsThanTheWeightsAreRefused) {
  const WinogradWeight weight = winograd_weight_of(draw_map({32, 16, 3, 3}));
  const Tensor x = draw_map({1, 16, 8, 8}), bias = at::randn({32});
  EXPECT_THROW(convolve_winograd(draw_map({1, 24, 8, 8}), weight, bias, {}, /*padding=*/1),
               std::invalid_argument);
  EXPECT_THROW(convolve_winograd(x, weight, at::randn({16}), {}, /*padding=*/1),
               std::invalid_argument);
  const Tensor strided = at::randn({32, 2}).select(/*dim=*/1, 0);
  EXPECT_TRUE(at::equal(convolve_winograd(x, weight, strided, {}, /*padding=*/1),
                        convolve_winograd(x, weight, strided.contiguous(), {}, /*padding=*/1)));
}

TEST(WinogradConvolutionArgumentsTest, OnlyPaddingsFromNoneToTwoAreTaken) {
  const Tensor weight = draw_map({32, 16, 3, 3});
  EXPECT_FALSE(has_winograd(weight, /*stride=*/1, /*padding=*/-1));
  EXPECT_FALSE(has_winograd(weight, /*stride=*/1, /*padding=*/3));
  EXPECT_FALSE(has_winograd(weight, /*stride=*/2, /*padding=*/1));
  EXPECT_FALSE(has_winograd(draw_map({32, 3, 3, 3}), /*stride=*/1, /*padding=*/1));
}

}  // namespace
}  // namespace ddpm::cpu
