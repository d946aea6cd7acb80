#include <ATen/ATen.h>
#include <c10/core/StreamGuard.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <gtest/gtest.h>

#include <memory>
#include <stdexcept>
#include <thread>
#include <vector>

#include "ddpm/kernels/cuda/conv2d_tiles.h"
#include "ddpm/kernels/weight_tiles_cache.h"
#include "kernels/flat_weights.h"

namespace ddpm {
namespace {

using testing::ask_for_tiles;
using testing::expect_equal_tiles;
using testing::expected_tiles;
using testing::expected_tiles_of;
using testing::FlatWeights;
using testing::in_same_places;
using testing::learn_all;
using testing::weight_at;
using testing::weights_of_all_shapes;

class WeightTilesCacheGpuTest : public testing::TilesGpuTest {};

TEST_F(WeightTilesCacheGpuTest, RefreshPacksWhatWasAskedForBitForBit) {
  const FlatWeights all = weights_of_all_shapes();
  WeightTilesCache cache(all.flat);
  learn_all(cache, all);
  cache.refresh();
  const std::vector<Tensor> kept = ask_for_tiles(all);
  expect_equal_tiles(kept, expected_tiles_of(all));
  cache.expire();
  for (int pass = 0; pass < 3; ++pass) {
    all.change();
    cache.refresh();
    expect_equal_tiles(kept, expected_tiles_of(all));  // before anybody asks
    EXPECT_TRUE(in_same_places(ask_for_tiles(all), kept));
    cache.expire();
  }
}

TEST_F(WeightTilesCacheGpuTest, OutsideOfAPassTilesAreOfTheWeightsAsTheyAre) {
  const FlatWeights all = weights_of_all_shapes();
  WeightTilesCache cache(all.flat);
  learn_all(cache, all);
  const std::vector<Tensor> before = ask_for_tiles(all);
  cache.refresh();
  const std::vector<Tensor> kept = ask_for_tiles(all);
  EXPECT_FALSE(in_same_places(kept, before));
  cache.expire();
  all.change();
  expect_equal_tiles(ask_for_tiles(all), expected_tiles_of(all));
  EXPECT_FALSE(in_same_places(ask_for_tiles(all), kept));
  EXPECT_THROW(
      {
        const TilesPass pass(cache);
        throw std::runtime_error("a pass that fails");
      },
      std::runtime_error);
  all.change();
  expect_equal_tiles(ask_for_tiles(all), expected_tiles_of(all));
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
  learn_all(cache, first);
  learn_all(*other, second);
  for (int i = 0; i < 3; ++i) {
    cache.refresh();
    other->refresh();
    expect_equal_tiles(ask_for_tiles(first), expected_tiles_of(first));
    const std::vector<Tensor> kept = ask_for_tiles(second);
    cache.expire();
    first.change();
    expect_equal_tiles(ask_for_tiles(first), expected_tiles_of(first));
    EXPECT_TRUE(in_same_places(ask_for_tiles(second), kept));
    expect_equal_tiles(kept, expected_tiles_of(second));
    other->expire();
    second.change();
  }
  other->refresh();
  other.reset();
  second.change();
  expect_equal_tiles(ask_for_tiles(second), expected_tiles_of(second));
}

TEST_F(WeightTilesCacheGpuTest, ThreadsOfTheSameStreamShareTilesAndOtherStreamsPackTheirOwn) {
  const FlatWeights all = weights_of_all_shapes();
  WeightTilesCache cache(all.flat);
  std::vector<std::vector<Tensor>> of_threads(4);
  const auto ask_in_threads = [&] {
    std::vector<std::thread> threads;
    for (std::vector<Tensor>& tiles : of_threads) {
      threads.emplace_back([&] { tiles = ask_for_tiles(all); });
    }
    for (std::thread& thread : threads) thread.join();
  };
  {
    const TilesPass learns(cache);
    ask_in_threads();
    for (const std::vector<Tensor>& tiles : of_threads) {
      expect_equal_tiles(tiles, expected_tiles_of(all));
    }
  }
  const TilesPass pass(cache);
  ask_in_threads();
  for (const std::vector<Tensor>& tiles : of_threads) {
    EXPECT_TRUE(in_same_places(tiles, of_threads[0]));
    expect_equal_tiles(tiles, expected_tiles_of(all));
  }
  const c10::impl::VirtualGuardImpl gpu(at::kCUDA);
  const c10::StreamGuard elsewhere(gpu.getStreamFromGlobalPool(all.flat.device()));
  const std::vector<Tensor> tiles = ask_for_tiles(all);
  EXPECT_FALSE(in_same_places(tiles, of_threads[0]));
  expect_equal_tiles(tiles, expected_tiles_of(all));
}

}  // namespace
}  // namespace ddpm
