#include "ddpm/kernels/cpu/packed_weight.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <stdexcept>
#include <vector>

#include "ddpm/core/amx.h"
#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm {
namespace {

struct ConvolutionCase {
  std::vector<int64_t> x;
  int64_t out_channels;
  int64_t kernel = 3;
  int64_t stride = 1;
  int64_t padding = 1;
  bool bias = true;
  bool residual = false;
};

// Odd channels, which oneDNN takes; rows shorter, as long as and longer than AMX's tiles, and not a
// multiple of them; weights that fill the second cache; one pixel; few and many output channels.
const std::vector<ConvolutionCase>& convolution_cases() {
  static const std::vector<ConvolutionCase> cases{
      {{2, 3, 9, 7}, 5},
      {{1, 32, 4, 4}, 64, 3, 1, 1, true, true},
      {{3, 64, 8, 8}, 48},
      {{2, 32, 16, 16}, 3},
      {{1, 96, 5, 20}, 70, 3, 1, 1, false, true},
      {{1, 256, 6, 16}, 256},
      {{2, 64, 32, 32}, 128, 3, 1, 1, true, true},
      {{2, 32, 17, 17}, 64, 3, 2, 0},
      {{1, 64, 9, 9}, 64, 3, 2, 1},
      {{2, 64, 7, 5}, 96, 1, 1, 0, true, true},
      {{1, 32, 1, 1}, 32, 1, 1, 0},
      {{1, 32, 1, 1}, 32},
      {{1, 64, 6, 6}, 32, 1, 2, 0},
      {{1, 32, 12, 12}, 16, 5, 1, 2},
      // Several small maps at once; tiles that end beyond a map; a stride over rows of 16 and of
      // fewer; pixels that are no whole tiles; weights that do not fit the second cache.
      {{9, 64, 4, 4}, 96, 3, 1, 1, true, true},
      {{40, 32, 8, 8}, 64, 3, 1, 1, true, true},
      {{3, 32, 7, 5}, 64},
      {{2, 64, 33, 33}, 64, 3, 2, 0},
      {{3, 32, 17, 17}, 32, 3, 2, 0},
      {{1, 64, 40, 48}, 32, 3, 1, 1, true, true},
      {{5, 64, 13, 11}, 40, 1, 1, 0, true, true},
      {{2, 32, 50, 39}, 32, 3, 1, 1, true, true},
      {{2, 32, 61, 43}, 32, 3, 2, 0},
      {{1, 512, 16, 16}, 256, 3, 1, 1, true, true},
      // Images beside each other in a tile: two, four, eight and sixteen; and as many as leave one.
      {{4, 64, 7, 8}, 48, 3, 1, 1, true, true},
      {{8, 32, 4, 4}, 64},
      {{8, 32, 3, 2}, 32, 3, 1, 1, false, true},
      {{16, 32, 5, 1}, 32},
      {{5, 32, 8, 8}, 32},
      {{2, 32, 10, 10}, 32, 3, 1, 0},
  };
  return cases;
}

Tensor draw_map(at::IntArrayRef sizes, at::ScalarType dtype) {
  return at::randn(sizes).to(dtype).contiguous(at::MemoryFormat::ChannelsLast);
}

/// The largest error, as a share of the largest value that is expected.
double relative_error(const Tensor& y, const Tensor& expected) {
  return ((y.to(at::kDouble) - expected).abs().max() / expected.abs().max()).item<double>();
}

/// relative_error of a convolution with a packed weight.
double packed_error(const ConvolutionCase& c, at::ScalarType dtype) {
  at::manual_seed(5);
  const Tensor weight = draw_map({c.out_channels, c.x[1], c.kernel, c.kernel}, dtype);
  const PackedWeight packed = PackedWeight::of_conv2d(weight, c.stride, c.padding);
  Conv2dArgs args{.x = draw_map(c.x, dtype),
                  .weight = weight,
                  .stride = c.stride,
                  .padding = c.padding,
                  .packed = &packed};
  if (c.bias) args.bias = at::randn({c.out_channels}).to(dtype);
  Tensor expected = at::conv2d(args.x.to(at::kDouble), weight.to(at::kDouble),
                               c.bias ? args.bias.to(at::kDouble) : Tensor(), c.stride, c.padding);
  if (c.residual) {
    args.residual = draw_map(expected.sizes(), dtype);
    expected = expected + args.residual.to(at::kDouble);
  }
  const at::NoGradGuard no_grad;
  const Tensor y = conv2d(args);
  EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
  EXPECT_EQ(y.scalar_type(), dtype);
  return relative_error(y, expected);
}

TEST(PackedWeightTest, Float32ConvolutionsAgreeWithFloat64) {
  for (const ConvolutionCase& c : convolution_cases()) {
    EXPECT_LE(packed_error(c, at::kFloat), 1e-5) << at::IntArrayRef(c.x) << c.out_channels;
  }
}

TEST(PackedWeightTest, MapsOfTwoSizesByTurns) {
  at::manual_seed(14);
  const Tensor weight = draw_map({64, 96, 3, 3}, at::kFloat);
  const PackedWeight packed = PackedWeight::of_conv2d(weight, /*stride=*/1, /*padding=*/1);
  const at::NoGradGuard no_grad;
  for (const int64_t side : {5, 16, 5, 16}) {
    const Tensor x = draw_map({2, 96, side, side}, at::kFloat);
    const Tensor expected = at::conv2d(x.to(at::kDouble), weight.to(at::kDouble), {}, 1, 1);
    const Tensor y = conv2d({.x = x, .weight = weight, .padding = 1, .packed = &packed});
    EXPECT_LE(relative_error(y, expected), 1e-5) << side;
  }
}

// Half a unit in the last place of bf16 is up to 2^-8 of a value; sums are kept in float32.
TEST(PackedWeightTest, Bf16ConvolutionsAreRoundedOnce) {
  for (const ConvolutionCase& c : convolution_cases()) {
    EXPECT_LE(packed_error(c, at::kBFloat16), 1.0 / 250) << at::IntArrayRef(c.x) << c.out_channels;
  }
}

// Without AMX small maps go through the blocks, large ones through oneDNN; all have to be right.
TEST(PackedWeightTest, BlocksAgreeWithFloat64) {
  for (const ConvolutionCase& c : convolution_cases()) {
    at::manual_seed(9);
    const Tensor weight = draw_map({c.out_channels, c.x[1], c.kernel, c.kernel}, at::kBFloat16);
    if (!cpu::has_bf16_blocks(weight)) continue;
    const Tensor x = draw_map(c.x, at::kBFloat16);
    const Tensor expected =
        at::conv2d(x.to(at::kDouble), weight.to(at::kDouble), {}, c.stride, c.padding);
    for (const bool is_tiled : {false, true}) {
      if (is_tiled && !cpu_has_amx()) continue;
      const cpu::Bf16Blocks blocks = cpu::bf16_blocks_of(weight, is_tiled);
      const Tensor y = cpu::convolve_bf16(x, blocks, {}, {}, c.stride, c.padding);
      EXPECT_LE(relative_error(y, expected), 1.0 / 250)
          << at::IntArrayRef(c.x) << c.out_channels << is_tiled;
    }
  }
}

struct UpsampledCase {
  std::vector<int64_t> x;
  int64_t out_channels;
  bool bias = true;
};

// Enough pixels for phases and too few; odd sides and channels.
const std::vector<UpsampledCase>& upsampled_cases() {
  static const std::vector<UpsampledCase> cases{{{1, 64, 16, 16}, 64}, {{3, 32, 8, 9}, 64, false},
                                                {{2, 96, 11, 7}, 128}, {{5, 3, 7, 5}, 6},
                                                {{2, 32, 16, 17}, 24}, {{1, 32, 1, 200}, 64},
                                                {{1, 64, 4, 4}, 64},   {{8, 256, 16, 16}, 256}};
  return cases;
}

TEST(PackedWeightTest, PhasesAreTheConvolutionOfAnUpsampledMap) {
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const UpsampledCase& c : upsampled_cases()) {
      at::manual_seed(10);
      const Tensor weight = draw_map({c.out_channels, c.x[1], 3, 3}, dtype);
      const PackedWeight packed = PackedWeight::of_conv2d(weight, /*stride=*/1, /*padding=*/1);
      Conv2dArgs args{.x = draw_map(c.x, dtype),
                      .weight = weight,
                      .padding = 1,
                      .upsampled = true,
                      .packed = &packed};
      if (c.bias) args.bias = at::randn({c.out_channels}).to(dtype);
      const Tensor large = args.x.to(at::kDouble).repeat_interleave(2, 2).repeat_interleave(2, 3);
      const Tensor expected =
          at::conv2d(large, weight.to(at::kDouble), c.bias ? args.bias.to(at::kDouble) : Tensor(),
                     /*stride=*/1, /*padding=*/1);
      const at::NoGradGuard no_grad;
      const Tensor y = conv2d(args);
      EXPECT_EQ(y.sizes(), expected.sizes());
      EXPECT_TRUE(y.is_contiguous(at::MemoryFormat::ChannelsLast));
      EXPECT_LE(relative_error(y, expected), dtype == at::kFloat ? 1e-5 : 1.0 / 250)
          << at::IntArrayRef(c.x) << c.out_channels << ' ' << dtype;
    }
  }
}

TEST(PackedWeightTest, LinearLayersOfOneInputAreOneProduct) {
  at::manual_seed(6);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const Tensor first = at::randn({40, 64}).to(dtype);
    const Tensor second = at::randn({24, 64}).to(dtype);
    const Tensor bias = at::randn({64}).to(dtype);
    const PackedWeight packed = PackedWeight::of_linear({first, second});
    if (!packed.is_of({first, second})) GTEST_SKIP() << "no packed kernels on this CPU";
    const Tensor x = at::randn({3, 7, 64}).to(dtype);
    const Tensor residual = at::randn({3, 7, 64}).to(dtype);
    const at::NoGradGuard no_grad;
    const Tensor expected = at::linear(x.to(at::kDouble), at::cat({first, second}).to(at::kDouble),
                                       bias.to(at::kDouble)) +
                            residual.to(at::kDouble);
    const Tensor y = packed_linear(x, packed, bias, residual);
    EXPECT_EQ(y.sizes(), expected.sizes());
    const double tolerance = dtype == at::kFloat ? 1e-5 : 1.0 / 250;
    EXPECT_LE((y.to(at::kDouble) - expected).abs().max().item<double>(),
              tolerance * expected.abs().max().item<double>());
  }
}

TEST(PackedWeightTest, Bf16ResultsDoNotDependOnTheNumberOfThreads) {
  const int threads = at::get_num_threads();
  const at::NoGradGuard no_grad;
  for (const ConvolutionCase& c : convolution_cases()) {
    at::manual_seed(7);
    const Tensor x = draw_map(c.x, at::kBFloat16);
    const Tensor weight = draw_map({c.out_channels, c.x[1], c.kernel, c.kernel}, at::kBFloat16);
    if (!cpu::has_bf16_blocks(weight)) continue;
    for (const bool is_tiled : {false, true}) {
      if (is_tiled && !cpu_has_amx()) continue;
      const cpu::Bf16Blocks blocks = cpu::bf16_blocks_of(weight, is_tiled);
      const auto run = [&] { return cpu::convolve_bf16(x, blocks, {}, {}, c.stride, c.padding); };
      at::set_num_threads(1);
      const Tensor alone = run();
      at::set_num_threads(3);
      EXPECT_TRUE(at::equal(run(), alone)) << at::IntArrayRef(c.x) << is_tiled;
      at::set_num_threads(threads);
    }
  }
}

TEST(PackedWeightTest, Bf16TilesGiveAnImageTheBitsThatItHasAlone) {
  if (!cpu_has_amx()) GTEST_SKIP() << "no AMX on this CPU";
  for (const ConvolutionCase& c : convolution_cases()) {
    at::manual_seed(12);
    const Tensor x = draw_map(c.x, at::kBFloat16);
    const Tensor weight = draw_map({c.out_channels, c.x[1], c.kernel, c.kernel}, at::kBFloat16);
    if (!cpu::has_bf16_blocks(weight)) continue;
    const cpu::Bf16Blocks blocks = cpu::bf16_blocks_of(weight, /*is_tiled=*/true);
    const Tensor all = cpu::convolve_bf16(x, blocks, {}, {}, c.stride, c.padding);
    for (int64_t image = 0; image < c.x[0]; ++image) {
      const Tensor alone = x.narrow(/*dim=*/0, image, 1).contiguous(at::MemoryFormat::ChannelsLast);
      EXPECT_TRUE(at::equal(cpu::convolve_bf16(alone, blocks, {}, {}, c.stride, c.padding),
                            all.narrow(/*dim=*/0, image, 1)))
          << at::IntArrayRef(c.x) << image;
    }
  }
}

struct NormedCase {
  std::vector<int64_t> x;
  int64_t beside;    // images in a row of what the norm writes; 0: it writes a map like x
  int64_t rest = 0;  // channels of a second map
  bool scale_shift = false, shortcut = false;
};

// With AMX the norm writes maps with their padding, but for those whose rows fill no tile.
TEST(PackedWeightTest, ANormBeforeGivesTheBitsOfANormOfItsOwn) {
  const std::vector<NormedCase> cases{
      {{2, 64, 32, 32}, 1, 32, true, true}, {{1, 64, 5, 16}, 1},
      {{4, 96, 8, 8}, 2, 0, true},          {{8, 64, 4, 4}, 4, 64, false, true},
      {{3, 64, 8, 8}, 0, 0, false, true},   {{2, 64, 7, 7}, 0, 32},
  };
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    for (const NormedCase& c : cases) {
      at::manual_seed(13);
      const int64_t images = c.x[0], channels = c.x[1] + c.rest, out = 64;
      const Tensor weight = draw_map({out, channels, 3, 3}, dtype);
      const Tensor side_weight = draw_map({out, channels, 1, 1}, dtype);
      const PackedWeight packed = PackedWeight::of_conv2d(weight, /*stride=*/1, /*padding=*/1);
      GroupNormSiluArgs norm;
      norm.x = draw_map(c.x, dtype);
      norm.weight = at::randn({channels}).to(dtype);
      norm.bias = at::randn({channels}).to(dtype);
      norm.time_embedding = at::randn({images, channels}).to(dtype);
      if (c.scale_shift) {
        norm.scale = at::randn({images, channels}).to(dtype);
        norm.shift = at::randn({images, channels}).to(dtype);
      }
      Conv2dArgs args{.x = norm.x, .weight = weight, .padding = 1, .packed = &packed};
      args.bias = at::randn({out}).to(dtype);
      args.residual_bias = at::randn({out}).to(dtype);
      if (c.rest > 0) args.x_rest = draw_map({images, c.rest, c.x[2], c.x[3]}, dtype);
      const Tensor whole = c.rest > 0 ? at::cat({args.x, args.x_rest}, /*dim=*/1) : args.x;
      const Conv2dArgs side{.x = whole, .weight = side_weight};
      if (c.shortcut) {
        args.shortcut = &side;
      } else {
        args.residual = draw_map({images, out, c.x[2], c.x[3]}, dtype);
      }
      const at::NoGradGuard no_grad;
      if (dtype == at::kBFloat16 && cpu_has_amx() && cpu::has_bf16_blocks(weight)) {
        EXPECT_EQ(packed_images_beside(whole, packed, /*stride=*/1, /*padding=*/1), c.beside);
      }
      Conv2dArgs apart = args;
      apart.x_rest = Tensor();
      GroupNormSiluArgs alone = norm;
      alone.x = whole;
      apart.x = group_norm_silu(alone);
      args.norm = &norm;
      const Conv2dFork fork = conv2d_fork(args);
      EXPECT_TRUE(at::equal(fork.y, conv2d(apart))) << at::IntArrayRef(c.x) << ' ' << dtype;
      EXPECT_TRUE(at::equal(fork.x, whole));
      norm.scale = at::randn({images, channels + 1}).to(dtype);
      EXPECT_THROW(conv2d_fork(args), std::invalid_argument);
    }
  }
}

TEST(PackedWeightTest, AWeightThatChangedIsReadAsItIs) {
  at::manual_seed(8);
  for (const auto dtype : {at::kFloat, at::kBFloat16}) {
    const at::NoGradGuard no_grad;
    Tensor weight = draw_map({32, 32, 3, 3}, dtype);
    const PackedWeight packed = PackedWeight::of_conv2d(weight, 1, 1);
    const Conv2dArgs args{
        .x = draw_map({1, 32, 4, 4}, dtype), .weight = weight, .padding = 1, .packed = &packed};
    const Tensor before = conv2d(args);
    weight.mul_(2);
    EXPECT_FALSE(packed.is_of({weight}));
    EXPECT_TRUE(at::equal(conv2d(args), at::conv2d(args.x, weight, {}, 1, 1)));
    EXPECT_FALSE(at::equal(conv2d(args), before));
    weight.set_data(weight.clone());
    EXPECT_FALSE(packed.is_of({weight}));
  }
}

TEST(PackedWeightTest, GradientsFlowToTheWeightItself) {
  const Tensor weight = draw_map({32, 32, 3, 3}, at::kFloat).requires_grad_();
  const PackedWeight packed = PackedWeight::of_conv2d(weight, 1, 1);
  conv2d(
      {.x = draw_map({1, 32, 4, 4}, at::kFloat), .weight = weight, .padding = 1, .packed = &packed})
      .sum()
      .backward();
  EXPECT_TRUE(weight.grad().defined());
}

}  // namespace
}  // namespace ddpm
