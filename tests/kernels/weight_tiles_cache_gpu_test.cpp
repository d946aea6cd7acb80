#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <memory>
#include <stdexcept>
#include <thread>
#include <utility>
#include <vector>

#include "ddpm/kernels/cuda/conv2d_tiles.h"
#include "ddpm/kernels/weight_tiles_cache.h"

namespace ddpm {
namespace {

const at::TensorOptions kTilesBf16 = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);

struct WeightSize {
  int64_t out_channels, in_channels, side;
  bool forward = true, turned = true;  // which tiles there are of it
};

/// [O, C, k, k], channels_last, of part of flat weights.
Tensor weight_at(const Tensor& flat, int64_t offset, const WeightSize& size) {
  const auto [out, in, side, forward, turned] = size;
  return flat.narrow(/*dim=*/0, offset, out * side * side * in)
      .view({out, side, side, in})
      .permute({0, 3, 1, 2});
}

/// Flat weights as FlatParameters lays them out, and the convolutions' weights there.
struct FlatWeights {
  std::vector<WeightSize> sizes;
  Tensor flat;
  std::vector<Tensor> weights;

  explicit FlatWeights(std::vector<WeightSize> all) : sizes(std::move(all)) {
    constexpr int64_t kAligned = 64;
    std::vector<int64_t> offsets{kAligned};  // a bias comes first
    for (const WeightSize& s : sizes) {
      offsets.push_back(offsets.back() + s.out_channels * s.in_channels * s.side * s.side +
                        kAligned);
    }
    flat = at::randn({offsets.back()}, kTilesBf16);
    for (size_t i = 0; i < sizes.size(); ++i) {
      weights.push_back(weight_at(flat, offsets[i], sizes[i]));
    }
  }
  void change() const { flat.copy_(at::randn_like(flat)); }
};

FlatWeights weights_of_all_shapes() {
  return FlatWeights({{128, 32, 1, true, false},
                      {128, 128, 3},
                      {128, 96, 3, true, false},
                      {256, 128, 3},
                      {96, 128, 3, false, true},
                      {128, 384, 1},
                      {32, 256, 1, false, true},
                      {384, 256, 3},
                      {512, 512, 3},
                      {256, 512, 1}});
}

/// PackedWeight::tiles() by LibTorch's own operators.
Tensor expected_tiles(const Tensor& weight, bool turned) {
  const Tensor w = (turned ? weight.transpose(0, 1).flip({2, 3}) : weight).flatten(2);
  return w.reshape({w.size(0) / 128, 128, w.size(1) / 32, 4, 8, w.size(2)})
      .permute({0, 2, 5, 3, 1, 4})
      .contiguous();
}

/// All tiles that there are of the weights.
std::vector<Tensor> ask_for_tiles(const FlatWeights& all) {
  std::vector<Tensor> tiles;
  for (size_t i = 0; i < all.sizes.size(); ++i) {
    if (all.sizes[i].forward) tiles.push_back(cuda::warpgroup_tiles(all.weights[i]));
    if (all.sizes[i].turned) tiles.push_back(cuda::turned_warpgroup_tiles(all.weights[i]));
  }
  return tiles;
}
std::vector<Tensor> expected_tiles_of(const FlatWeights& all) {
  std::vector<Tensor> tiles;
  for (size_t i = 0; i < all.sizes.size(); ++i) {
    if (all.sizes[i].forward) tiles.push_back(expected_tiles(all.weights[i], false));
    if (all.sizes[i].turned) tiles.push_back(expected_tiles(all.weights[i], true));
  }
  return tiles;
}

void expect_equal(const std::vector<Tensor>& tiles, const std::vector<Tensor>& expected) {
  ASSERT_EQ(tiles.size(), expected.size());
  for (size_t i = 0; i < tiles.size(); ++i) {
    EXPECT_TRUE(at::equal(tiles[i], expected[i])) << "tiles " << i;
  }
}

bool in_same_places(const std::vector<Tensor>& some, const std::vector<Tensor>& others) {
  for (size_t i = 0; i < some.size(); ++i) {
    if (some[i].const_data_ptr() != others[i].const_data_ptr()) return false;
  }
  return some.size() == others.size();
}

class WeightTilesCacheGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA() || !cuda::has_warpgroup_tiles(at::empty({128, 32, 1, 1}, kTilesBf16))) {
      GTEST_SKIP() << "no GPU of Hopper, or a LibTorch without CUDA";
    }
    at::manual_seed(0);
  }
};

TEST_F(WeightTilesCacheGpuTest, RefreshPacksWhatWasAskedForBitForBit) {
  const FlatWeights all = weights_of_all_shapes();
  expect_equal(ask_for_tiles(all), expected_tiles_of(all));
  WeightTilesCache cache(all.flat);
  cache.refresh();
  const std::vector<Tensor> kept = ask_for_tiles(all);
  expect_equal(kept, expected_tiles_of(all));
  EXPECT_TRUE(in_same_places(ask_for_tiles(all), kept));
  cache.expire();
  for (int pass = 0; pass < 3; ++pass) {
    all.change();
    cache.refresh();
    expect_equal(kept, expected_tiles_of(all));  // before anybody asks
    EXPECT_TRUE(in_same_places(ask_for_tiles(all), kept));
    cache.expire();
  }
}

TEST_F(WeightTilesCacheGpuTest, WeightsThatComeLaterArePackedBesideTheOthers) {
  const FlatWeights all = weights_of_all_shapes();
  WeightTilesCache cache(all.flat);
  std::vector<Tensor> kept;
  for (const Tensor& weight : {all.weights[1], all.weights[3], all.weights[7]}) {
    all.change();
    const TilesPass pass(cache);
    kept.push_back(cuda::warpgroup_tiles(weight));
    EXPECT_TRUE(at::equal(kept.back(), expected_tiles(weight, false)));
    EXPECT_TRUE(at::equal(kept.front(), expected_tiles(all.weights[1], false)));
  }
  all.change();
  const TilesPass pass(cache);
  expect_equal(kept, {expected_tiles(all.weights[1], false), expected_tiles(all.weights[3], false),
                      expected_tiles(all.weights[7], false)});
}

TEST_F(WeightTilesCacheGpuTest, OutsideOfAPassTilesAreOfTheWeightsAsTheyAre) {
  const FlatWeights all = weights_of_all_shapes();
  WeightTilesCache cache(all.flat);
  const std::vector<Tensor> before = ask_for_tiles(all);
  cache.refresh();
  const std::vector<Tensor> kept = ask_for_tiles(all);
  EXPECT_FALSE(in_same_places(kept, before));
  cache.expire();
  all.change();
  expect_equal(ask_for_tiles(all), expected_tiles_of(all));
  EXPECT_FALSE(in_same_places(ask_for_tiles(all), kept));
  EXPECT_THROW(
      {
        const TilesPass pass(cache);
        throw std::runtime_error("a pass that fails");
      },
      std::runtime_error);
  all.change();
  expect_equal(ask_for_tiles(all), expected_tiles_of(all));
}

TEST_F(WeightTilesCacheGpuTest, OtherWeightsInAPassHaveTilesOfTheirOwn) {
  const FlatWeights all({{256, 128, 3}});
  const Tensor& weight = all.weights[0];
  const Tensor part = all.flat.narrow(/*dim=*/0, 64, weight.numel());
  WeightTilesCache cache(all.flat);
  for (int i = 0; i < 3; ++i) {
    all.change();
    const TilesPass pass(cache);
    const Tensor tiles = cuda::warpgroup_tiles(weight);
    const Tensor moved = weight.clone();
    moved.add_(1);
    for (const Tensor& other : {
             moved,                                                  // other memory
             weight_at(all.flat, 64, {128, 2304, 1}),                // other sizes
             part.view({256, 128, 3, 3}),                            // other strides
             weight.narrow(/*dim=*/1, 32, 64),                       // gaps
             weight.narrow(/*dim=*/0, 128, 128),                     // another start
             all.flat.narrow(0, 65, 128 * 32).view({128, 32, 1, 1})  // not at 16 bytes
         }) {
      EXPECT_TRUE(at::equal(cuda::warpgroup_tiles(other), expected_tiles(other, false)));
    }
    EXPECT_TRUE(at::equal(cuda::turned_warpgroup_tiles(weight), expected_tiles(weight, true)));
    EXPECT_TRUE(at::equal(tiles, expected_tiles(weight, false)));
  }
}

TEST_F(WeightTilesCacheGpuTest, SeveralCachesKeepToTheirWeights) {
  const FlatWeights first = weights_of_all_shapes(), second = weights_of_all_shapes();
  WeightTilesCache cache(first.flat);
  auto other = std::make_unique<WeightTilesCache>(second.flat);
  for (int i = 0; i < 3; ++i) {
    cache.refresh();
    other->refresh();
    expect_equal(ask_for_tiles(first), expected_tiles_of(first));
    const std::vector<Tensor> kept = ask_for_tiles(second);
    cache.expire();
    first.change();
    expect_equal(ask_for_tiles(first), expected_tiles_of(first));
    EXPECT_TRUE(in_same_places(ask_for_tiles(second), kept));
    expect_equal(kept, expected_tiles_of(second));
    other->expire();
    second.change();
  }
  other->refresh();
  other.reset();
  second.change();
  expect_equal(ask_for_tiles(second), expected_tiles_of(second));
}

TEST_F(WeightTilesCacheGpuTest, ThreadsOfTheSameStreamShareTilesAndOtherStreamsPackTheirOwn) {
  const FlatWeights all = weights_of_all_shapes();
  WeightTilesCache cache(all.flat);
  const TilesPass pass(cache);
  std::vector<std::vector<Tensor>> of_threads(4);
  std::vector<std::thread> threads;
  for (std::vector<Tensor>& tiles : of_threads) {
    threads.emplace_back([&] { tiles = ask_for_tiles(all); });
  }
  for (std::thread& thread : threads) thread.join();
  for (const std::vector<Tensor>& tiles : of_threads) {
    EXPECT_TRUE(in_same_places(tiles, of_threads[0]));
    expect_equal(tiles, expected_tiles_of(all));
  }
  const c10::impl::VirtualGuardImpl gpu(at::kCUDA);
  const c10::StreamGuard elsewhere(gpu.getStreamFromGlobalPool(all.flat.device()));
  const std::vector<Tensor> tiles = ask_for_tiles(all);
  EXPECT_FALSE(in_same_places(tiles, of_threads[0]));
  expect_equal(tiles, expected_tiles_of(all));
}

}  // namespace
}  // namespace ddpm
