#pragma once

#include <ATen/ATen.h>
#include <gtest/gtest.h>

#include <cstdint>
#include <utility>
#include <vector>

#include "ddpm/kernels/cuda/conv2d_tiles.h"
#include "ddpm/kernels/weight_tiles_cache.h"

namespace ddpm::testing {

inline const at::TensorOptions kTilesBf16 = at::TensorOptions(at::kCUDA).dtype(at::kBFloat16);

struct WeightSize {
  int64_t out_channels, in_channels, side;
  bool forward = true, turned = true;  // which tiles there are of it
};

/// [O, C, k, k], channels_last, of part of flat weights.
inline Tensor weight_at(const Tensor& flat, int64_t offset, const WeightSize& size) {
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

inline FlatWeights weights_of_all_shapes() {
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
inline Tensor expected_tiles(const Tensor& weight, bool turned) {
  const Tensor w = (turned ? weight.transpose(0, 1).flip({2, 3}) : weight).flatten(2);
  return w.reshape({w.size(0) / 128, 128, w.size(1) / 32, 4, 8, w.size(2)})
      .permute({0, 2, 5, 3, 1, 4})
      .contiguous();
}

/// All tiles that there are of the weights.
inline std::vector<Tensor> ask_for_tiles(const FlatWeights& all) {
  std::vector<Tensor> tiles;
  for (size_t i = 0; i < all.sizes.size(); ++i) {
    if (all.sizes[i].forward) tiles.push_back(cuda::warpgroup_tiles(all.weights[i]));
    if (all.sizes[i].turned) tiles.push_back(cuda::turned_warpgroup_tiles(all.weights[i]));
  }
  return tiles;
}
inline std::vector<Tensor> expected_tiles_of(const FlatWeights& all) {
  std::vector<Tensor> tiles;
  for (size_t i = 0; i < all.sizes.size(); ++i) {
    if (all.sizes[i].forward) tiles.push_back(expected_tiles(all.weights[i], false));
    if (all.sizes[i].turned) tiles.push_back(expected_tiles(all.weights[i], true));
  }
  return tiles;
}

inline void expect_equal_tiles(const std::vector<Tensor>& tiles,
                               const std::vector<Tensor>& expected) {
  ASSERT_EQ(tiles.size(), expected.size());
  for (size_t i = 0; i < tiles.size(); ++i) {
    EXPECT_TRUE(at::equal(tiles[i], expected[i])) << "tiles " << i;
  }
}

inline bool in_same_places(const std::vector<Tensor>& some, const std::vector<Tensor>& others) {
  for (size_t i = 0; i < some.size(); ++i) {
    if (some[i].const_data_ptr() != others[i].const_data_ptr()) return false;
  }
  return some.size() == others.size();
}

/// A pass after which the cache knows the weights.
inline void learn_all(WeightTilesCache& cache, const FlatWeights& all) {
  const TilesPass pass(cache);
  expect_equal_tiles(ask_for_tiles(all), expected_tiles_of(all));
}

/// Skips where no convolution reads tiles.
class TilesGpuTest : public ::testing::Test {
 protected:
  void SetUp() override {
    if (!at::hasCUDA() || !cuda::has_warpgroup_tiles(at::empty({128, 32, 1, 1}, kTilesBf16))) {
      GTEST_SKIP() << "no GPU of Hopper, or a LibTorch without CUDA";
    }
    at::manual_seed(0);
  }
};

}  // namespace ddpm::testing
