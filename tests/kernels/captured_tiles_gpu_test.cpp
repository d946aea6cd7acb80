#include <ATen/ATen.h>
#include <gtest/gtest.h>
#include <torch/csrc/autograd/autograd.h>

#include <cstdint>
#include <vector>

#include "ddpm/core/captured_work.h"
#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/cuda/conv2d_tiles.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/weight_tiles_cache.h"

namespace ddpm {
namespace {

const at::TensorOptions kCapturedBf16 = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);

// As many that their input's gradient is a convolution of warpgroups, too.
constexpr int64_t kLayerChannels = 384, kLayerWeight = kLayerChannels * kLayerChannels * 9;

/// Layers of a norm and a convolution each, whose weights stand in flat storage.
struct Layers {
  Tensor flat;
  std::vector<Tensor> weights;
  GroupNormSiluArgs norm;
  Tensor x, d_y;

  explicit Layers(int64_t count) : flat(at::empty({count * kLayerWeight}, kCapturedBf16)) {
    for (int64_t i = 0; i < count; ++i) {
      weights.push_back(flat.narrow(/*dim=*/0, i * kLayerWeight, kLayerWeight)
                            .view({kLayerChannels, 3, 3, kLayerChannels})
                            .permute({0, 3, 1, 2}));
    }
    change();
    norm.num_groups = 32;
    norm.weight = at::randn({kLayerChannels}, kCapturedBf16);
    norm.bias = at::randn({kLayerChannels}, kCapturedBf16);
    const auto map = [] {
      return at::randn({32, kLayerChannels, 16, 16}, kCapturedBf16)
          .contiguous(at::MemoryFormat::ChannelsLast);
    };
    x = map().requires_grad_(true);
    d_y = map();
  }
  void change() const { flat.copy_(at::randn_like(flat) * 0.02); }

  /// Output and gradient of x.
  std::vector<Tensor> run() const {
    Tensor y = x;
    for (const Tensor& weight : weights) {
      GroupNormSiluArgs before = norm;
      before.x = y;
      y = conv2d({.x = y, .weight = weight, .padding = 1, .norm = &before});
    }
    return {y.detach(), torch::autograd::grad({y}, {x}, {d_y})[0]};
  }
};

/// [O, C, k, k] as PackedWeight::tiles(), by LibTorch's own operators.
Tensor packed_by_views(const Tensor& weight) {
  return weight.flatten(2)
      .reshape({weight.size(0) / 128, 128, weight.size(1) / 32, 4, 8, 9})
      .permute({0, 2, 5, 3, 1, 4})
      .contiguous();
}

class CapturedTilesGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA() || !cuda::has_warpgroup_tiles(at::empty({128, 32, 1, 1}, kCapturedBf16))) {
      GTEST_SKIP() << "no GPU of Hopper, or a LibTorch without CUDA";
    }
    at::manual_seed(0);
  }
};

TEST_F(CapturedTilesGpuTest, ReplaysPackTheWeightsAsTheyAreThen) {
  for (const int64_t warm_up_runs : {1, 2, 3}) {
    const Layers layers(/*count=*/2);
    WeightTilesCache cache(layers.flat);
    CapturedWork work("test", at::kCUDA, warm_up_runs);
    Tensor tiles, turned;
    for (int64_t i = 0; i < warm_up_runs + 4; ++i) {
      const Tensor before = tiles;
      work.run([&] {
        const TilesPass pass(cache);
        tiles = cuda::warpgroup_tiles(layers.weights[0]);
        turned = cuda::turned_warpgroup_tiles(layers.weights[1]);
      });
      EXPECT_TRUE(i < 2 || tiles.const_data_ptr() == before.const_data_ptr());
      EXPECT_TRUE(at::equal(tiles, packed_by_views(layers.weights[0])));
      const Tensor backwards = layers.weights[1].transpose(0, 1).flip({2, 3});
      EXPECT_TRUE(at::equal(turned, packed_by_views(backwards)));
      layers.change();
      EXPECT_TRUE(
          at::equal(cuda::warpgroup_tiles(layers.weights[0]), packed_by_views(layers.weights[0])));
    }
    EXPECT_TRUE(work.is_captured());
  }
}

// The first of them runs right behind the launch that packs, and the others begin early.
TEST_F(CapturedTilesGpuTest, ConvolutionsAndTheirGradientsHaveTheBitsOfTilesPackedOneByOne) {
  const Layers layers(/*count=*/6);
  WeightTilesCache cache(layers.flat);
  CapturedWork work("test", at::kCUDA, /*warm_up_runs=*/3);
  std::vector<Tensor> results;
  for (int i = 0; i < 12; ++i) {
    layers.change();
    work.run([&] {
      const TilesPass pass(cache);
      results = layers.run();
    });
    const std::vector<Tensor> expected = layers.run();
    for (size_t k = 0; k < expected.size(); ++k) {
      EXPECT_TRUE(at::equal(results[k], expected[k])) << "result " << k << " of run " << i;
    }
  }
  EXPECT_TRUE(work.is_captured());
}

TEST_F(CapturedTilesGpuTest, WeightsFirstAskedForInACaptureArePackedThere) {
  const Layers layers(/*count=*/2);
  WeightTilesCache cache(layers.flat);
  CapturedWork work("test", at::kCUDA, /*warm_up_runs=*/2);
  bool asks_for_all = false;
  const std::vector<Tensor> copies{packed_by_views(layers.weights[0]),
                                   packed_by_views(layers.weights[1])};
  const auto expect_copies = [&] {
    EXPECT_TRUE(at::equal(copies[0], packed_by_views(layers.weights[0])));
    EXPECT_TRUE(!asks_for_all || at::equal(copies[1], packed_by_views(layers.weights[1])));
  };
  const auto pass_once = [&] {
    const TilesPass pass(cache);
    copies[0].copy_(cuda::warpgroup_tiles(layers.weights[0]));
    if (asks_for_all) copies[1].copy_(cuda::warpgroup_tiles(layers.weights[1]));
  };
  for (int i = 0; i < 5; ++i) {
    layers.change();
    asks_for_all = i >= 2;
    work.run(pass_once);
    expect_copies();
  }
  EXPECT_TRUE(work.is_captured());
  for (int i = 0; i < 4; ++i) {  // passes that remember it, and replays between them
    layers.change();
    if (i % 2 == 0) {
      pass_once();
    } else {
      work.run(pass_once);
    }
    expect_copies();
  }
}

}  // namespace
}  // namespace ddpm
