#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <vector>

#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/map_attention.h"

namespace ddpm {
namespace {

constexpr int64_t kChannels = 256, kSide = 16;

AttentionWeights random_weights(const at::TensorOptions& options) {
  const auto weight = [&](double size) {
    return (at::randn({kChannels, kChannels}, options) * size / std::sqrt(kChannels)).contiguous();
  };
  const auto bias = [&] { return at::randn({kChannels}, options); };
  return {.q = weight(1.5),
          .k = weight(1.5),
          .v = weight(1),
          .out = weight(1),
          .q_bias = bias(),
          .k_bias = bias(),
          .v_bias = bias(),
          .out_bias = bias()};
}

Tensor exact(const Tensor& tensor) { return tensor.to(at::kCPU, at::kDouble); }

/// As it is written, without folding.
Tensor composite(const Tensor& x, const GroupNormSiluArgs& norm, const AttentionWeights& w) {
  const Tensor map = exact(x);
  const Tensor normed =
      at::group_norm(map, norm.num_groups, exact(norm.weight), exact(norm.bias), norm.eps);
  const Tensor n = normed.flatten(2).transpose(1, 2);  // [N, L, C]
  const auto layer = [&](const Tensor& in, const Tensor& weight, const Tensor& bias) {
    return at::linear(in, exact(weight), exact(bias));
  };
  const Tensor scores = at::bmm(layer(n, w.q, w.q_bias), layer(n, w.k, w.k_bias).transpose(1, 2)) /
                        std::sqrt(static_cast<double>(kChannels));
  const Tensor attended = at::bmm(at::softmax(scores, -1), layer(n, w.v, w.v_bias));
  return map + layer(attended, w.out, w.out_bias).transpose(1, 2).reshape(map.sizes());
}

/// What attention adds to the map, against float64's; its bits are the same each time.
struct AddedError {
  double relative;
  Tensor added;  ///< In float64.

  AddedError(const MapAttentionArgs& args, const AttentionWeights& weights) {
    const Tensor& x = args.x;
    static_cast<void>(at::full_like(x, std::numeric_limits<double>::quiet_NaN()));
    const Tensor y = map_attention(args);
    added = composite(x, *args.norm, weights) - exact(x);
    const Tensor got = exact(y) - exact(x);
    relative = ((got - added).norm() / added.norm()).item<double>();
    for (int i = 0; i < 5; ++i) EXPECT_TRUE(at::equal(y, map_attention(args)));
  }
};

TEST(MapAttentionGpuTest, GivesWhatFloat64GivesWithoutFolding) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const at::NoGradGuard no_grad;
  at::manual_seed(3);
  const auto options = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
  const AttentionWeights weights = random_weights(options);
  const FoldedAttention folded = pack_attention(weights);
  for (const int64_t images : {13, 64, 67, 150}) {
    const Tensor x = (at::randn({images, kChannels, kSide, kSide}, options) + 0.3)
                         .contiguous(at::MemoryFormat::ChannelsLast);
    const GroupNormSiluArgs norm{.x = x,
                                 .weight = at::rand({kChannels}, options) + 0.5,
                                 .bias = at::randn({kChannels}, options) * 0.2,
                                 .eps = 1e-6,
                                 .silu = false};
    const MapAttentionArgs args{.x = x, .norm = &norm, .weights = &folded};
    if (!has_map_attention(x, norm)) GTEST_SKIP() << "no GPU of Hopper's";
    EXPECT_LT(AddedError(args, weights).relative, 1e-2) << images << " images";
  }
}

TEST(MapAttentionGpuTest, AFewMapsOfAnySizeGiveWhatFloat64Gives) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const at::NoGradGuard no_grad;
  at::manual_seed(9);
  const auto options = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
  const AttentionWeights weights = random_weights(options);
  const FoldedAttention folded = pack_attention(weights);
  struct Case {
    int64_t images, height, width, groups;
    double mean;
  };
  for (const auto& [images, height, width, groups, mean] :
       {Case{1, 16, 16, 32, 0.3}, Case{1, 4, 4, 32, 0}, Case{2, 8, 8, 16, 0},
        Case{3, 12, 12, 64, 0}, Case{5, 8, 2, 256, 0}, Case{11, 16, 16, 32, -1},
        Case{1, 16, 16, 32, 12}}) {
    const Tensor x = (at::randn({images, kChannels, height, width}, options) + mean)
                         .contiguous(at::MemoryFormat::ChannelsLast);
    const GroupNormSiluArgs norm{.x = x,
                                 .num_groups = groups,
                                 .weight = at::rand({kChannels}, options) + 0.5,
                                 .bias = at::randn({kChannels}, options) * 0.2,
                                 .eps = 1e-6,
                                 .silu = false};
    const MapAttentionArgs args{.x = x, .norm = &norm, .weights = &folded};
    if (!has_map_attention(x, norm)) GTEST_SKIP() << "no GPU of Hopper's";
    const AddedError error(args, weights);
    const double rounding = exact(x).abs().mean().item<double>() / 512;  // of x + what is added
    EXPECT_LT(error.relative, 1e-2 + rounding / error.added.abs().mean().item<double>())
        << images << " images of " << height << " x " << width;
    const Tensor y = map_attention(args);
    const FoldedAttention now = fold_attention(weights);  // whose kernel is the one before
    EXPECT_TRUE(at::equal(y, map_attention({.x = x, .norm = &norm, .weights = &now})));
  }
}

TEST(MapAttentionGpuTest, OtherMapsAreNotTaken) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(4);
  const auto options = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
  GroupNormSiluArgs norm{.x = {},
                         .weight = at::ones({kChannels}, options),
                         .bias = at::zeros({kChannels}, options),
                         .silu = false};
  const auto takes = [&](at::IntArrayRef sizes) {
    return has_map_attention(at::randn(sizes, options), norm);
  };
  EXPECT_FALSE(takes({64, kChannels, 8, 8}));
  EXPECT_FALSE(takes({64, 128, kSide, kSide}));
  EXPECT_FALSE(takes({2, kChannels, kSide, kSide}));  // which have no backward pass
  {
    const at::NoGradGuard no_grad;
    EXPECT_FALSE(takes({2, kChannels, 3, 3}));
    EXPECT_FALSE(takes({2, kChannels, 32, 32}));
    EXPECT_FALSE(takes({0, kChannels, kSide, kSide}));
  }
  norm.silu = true;
  EXPECT_FALSE(takes({64, kChannels, kSide, kSide}));
}

TEST(MapAttentionGpuTest, GradientsAreThoseOfFloat64WithoutFolding) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  at::manual_seed(7);
  const auto options = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
  const AttentionWeights weights = random_weights(options);
  for (const int64_t images : {13, 140}) {
    const Tensor x = at::randn({images, kChannels, kSide, kSide}, options)
                         .contiguous(at::MemoryFormat::ChannelsLast);
    const Tensor d_y = at::randn_like(x);
    std::vector<Tensor> inputs{x, at::rand({kChannels}, options) + 0.5,
                               at::randn({kChannels}, options) * 0.2};
    for (const Tensor& weight : weights.all()) inputs.push_back(weight.detach());
    std::vector<Tensor> exact_inputs;
    for (Tensor& input : inputs) {
      input = input.detach().requires_grad_(true);
      exact_inputs.push_back(exact(input.detach()).requires_grad_(true));
    }
    const auto weights_of = [](const std::vector<Tensor>& all) {
      return AttentionWeights{.q = all[3],
                              .k = all[4],
                              .v = all[5],
                              .out = all[6],
                              .q_bias = all[7],
                              .k_bias = all[8],
                              .v_bias = all[9],
                              .out_bias = all[10]};
    };
    const auto norm_of = [](const std::vector<Tensor>& all) {
      return GroupNormSiluArgs{
          .x = all[0], .weight = all[1], .bias = all[2], .eps = 1e-6, .silu = false};
    };
    const GroupNormSiluArgs norm = norm_of(inputs);
    if (!has_map_attention(x, norm)) GTEST_SKIP() << "no GPU of Hopper's";
    const auto run = [&] {
      const FoldedAttention folded = fold_attention(weights_of(inputs));
      map_attention({.x = inputs[0], .norm = &norm, .weights = &folded}).backward(d_y);
    };
    run();
    composite(exact_inputs[0], norm_of(exact_inputs), weights_of(exact_inputs))
        .backward(exact(d_y));
    std::vector<Tensor> first;
    for (size_t i = 0; i < inputs.size(); ++i) {
      const Tensor got = exact(inputs[i].grad()), expected = exact_inputs[i].grad();
      first.push_back(inputs[i].grad().clone());
      inputs[i].mutable_grad() = Tensor();
      if (i == 8) {  // of k_bias: zero but for float64's rounding
        EXPECT_EQ(got.abs().max().item<double>(), 0);
        continue;
      }
      const bool is_map = i == 0;  // d_y itself is most of its gradient
      const Tensor base = is_map ? exact(d_y) : at::zeros_like(expected);
      EXPECT_LT(((got - expected).norm() / (expected - base).norm()).item<double>(), 2e-2)
          << "input " << i << " of " << images << " images";
    }
    run();
    for (size_t i = 0; i < inputs.size(); ++i) {
      EXPECT_TRUE(at::equal(inputs[i].grad(), first[i])) << "input " << i;
    }
  }
}

TEST(MapAttentionGpuTest, TheNextNormTakesItsSums) {
  if (!at::hasCUDA()) GTEST_SKIP() << "no GPU, or a LibTorch without CUDA";
  const at::NoGradGuard no_grad;
  at::manual_seed(6);
  const auto options = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);
  const FoldedAttention folded = pack_attention(random_weights(options));
  for (const int64_t images : {1, 70}) {
    const Tensor x = at::randn({images, kChannels, kSide, kSide}, options)
                         .contiguous(at::MemoryFormat::ChannelsLast);
    GroupNormSiluArgs norm{.x = x,
                           .weight = at::rand({kChannels}, options) + 0.5,
                           .bias = at::randn({kChannels}, options),
                           .silu = false};
    const MapAttentionArgs args{.x = x, .norm = &norm, .weights = &folded};
    if (!has_map_attention(x, norm)) GTEST_SKIP() << "no GPU of Hopper's";
    const Tensor y = map_attention(args);
    norm.silu = true;
    const Tensor weight = (at::randn({kChannels, kChannels, 3, 3}, options) / 48)
                              .contiguous(at::MemoryFormat::ChannelsLast);
    const auto next = [&](const Tensor& map) {
      return conv2d({.x = map, .weight = weight, .padding = 1, .norm = &norm}).to(at::kFloat);
    };
    const Tensor expected = next(y.clone());  // which has no sums yet
    EXPECT_LT(((next(y) - expected).norm() / expected.norm()).item<double>(), 1e-3);
  }
}

}  // namespace
}  // namespace ddpm
