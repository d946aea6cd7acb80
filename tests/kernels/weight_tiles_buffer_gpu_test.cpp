#include <ATen/ATen.h>
#include <ATen/DeviceAccelerator.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <set>
#include <vector>

#include "ddpm/kernels/cuda/conv2d_tiles.h"
#include "ddpm/kernels/weight_tiles_cache.h"
#include "kernels/flat_weights.h"

namespace ddpm {
namespace {

using testing::ask_for_tiles;
using testing::expected_tiles;
using testing::FlatWeights;
using testing::in_same_places;
using testing::kTilesBf16;
using testing::learn_all;
using testing::weights_of_all_shapes;

class WeightTilesBufferGpuTest : public testing::TilesGpuTest {};

TEST_F(WeightTilesBufferGpuTest, TheFirstPassOnlyLearnsAndKeepsNoTiles) {
  const FlatWeights all = weights_of_all_shapes();
  WeightTilesCache cache(all.flat);
  const TilesPass pass(cache);
  const std::vector<Tensor> tiles = ask_for_tiles(all);
  EXPECT_FALSE(in_same_places(ask_for_tiles(all), tiles));
  for (const Tensor& own : tiles) EXPECT_EQ(own.use_count(), 1U);
}

TEST_F(WeightTilesBufferGpuTest, TilesLieOneAfterTheOtherInABufferForAllThatWereNew) {
  const FlatWeights all = weights_of_all_shapes();
  WeightTilesCache cache(all.flat);
  {
    const TilesPass pass(cache);
    for (size_t i = 0; i < 3; ++i) cuda::warpgroup_tiles(all.weights[i]);
  }
  learn_all(cache, all);
  const TilesPass pass(cache);
  std::set<const void*> buffers;
  int64_t numel = 0;
  size_t room = 0;
  for (const Tensor& tiles : ask_for_tiles(all)) {
    numel += tiles.numel();
    EXPECT_EQ(reinterpret_cast<uintptr_t>(tiles.const_data_ptr()) % 128, 0U);
    if (buffers.insert(tiles.storage().data()).second) room += tiles.storage().nbytes();
  }
  EXPECT_EQ(buffers.size(), 2U);
  EXPECT_EQ(room, static_cast<size_t>(numel) * sizeof(at::BFloat16));
}

TEST_F(WeightTilesBufferGpuTest, LargeBlocksThatAreFreeInTheFirstPassCanBeGivenBackLater) {
  constexpr int64_t kMib = int64_t{1} << 20, kLarge = 512 * kMib;
  const FlatWeights all = weights_of_all_shapes();
  WeightTilesCache cache(all.flat);
  const auto reserved = [&] {
    at::accelerator::emptyCache();
    const auto stats = at::accelerator::getDeviceStats(all.flat.device().index());
    return stats.reserved_bytes[0].current;
  };
  const int64_t before = reserved();
  at::empty({kLarge}, kTilesBf16.dtype(at::kByte));
  learn_all(cache, all);
  at::empty({kLarge}, kTilesBf16.dtype(at::kByte));
  const TilesPass pass(cache);
  int64_t size_bytes = 0;
  for (const Tensor& tiles : ask_for_tiles(all)) size_bytes += static_cast<int64_t>(tiles.nbytes());
  EXPECT_LT(reserved() - before, size_bytes + 32 * kMib);  // the allocator rounds
}

TEST_F(WeightTilesBufferGpuTest, WeightsThatComeLaterArePackedBesideTheOthers) {
  const FlatWeights all = weights_of_all_shapes();
  WeightTilesCache cache(all.flat);
  std::vector<Tensor> known, kept;
  for (const Tensor& weight : {all.weights[1], all.weights[3], all.weights[7], all.weights[8]}) {
    all.change();
    const TilesPass pass(cache);
    for (size_t i = 0; i < kept.size(); ++i) {
      EXPECT_TRUE(at::equal(kept[i], expected_tiles(known[i], false)));  // before anybody asks
    }
    for (size_t i = kept.size(); i < known.size(); ++i) {
      kept.push_back(cuda::warpgroup_tiles(known[i]));
    }
    for (size_t i = 0; i < known.size(); ++i) {
      EXPECT_EQ(cuda::warpgroup_tiles(known[i]).const_data_ptr(), kept[i].const_data_ptr());
      EXPECT_TRUE(at::equal(kept[i], expected_tiles(known[i], false)));
    }
    EXPECT_TRUE(at::equal(cuda::warpgroup_tiles(weight), expected_tiles(weight, false)));
    known.push_back(weight);
  }
}

}  // namespace
}  // namespace ddpm
