#include "ddpm/kernels/weight_tiles_cache.h"

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <stdexcept>

namespace ddpm {
namespace {

TEST(WeightTilesCacheTest, NothingHappensWhereNoGpuComputesWithTheWeights) {
  for (const Tensor& weights : {Tensor(), at::zeros({64}, at::kBFloat16)}) {
    WeightTilesCache cache(weights);
    cache.refresh();
    cache.expire();
    const TilesPass pass(cache);
  }
}

TEST(WeightTilesCacheTest, WeightsAreFlatAndOfBfloat16) {
  EXPECT_THROW(WeightTilesCache(at::zeros({64}, at::kFloat)), std::invalid_argument);
  EXPECT_THROW(WeightTilesCache(at::zeros({8, 8}, at::kBFloat16)), std::invalid_argument);
  EXPECT_THROW(WeightTilesCache(at::zeros({64}, at::kBFloat16).slice(0, 0, 64, 2)),
               std::invalid_argument);
}

}  // namespace
}  // namespace ddpm
