#pragma once

#include "ddpm/kernels/cuda/cluster_exchange.cuh"
#include "ddpm/kernels/cuda/conv2d_warpgroup_four_rows.cuh"
#include "ddpm/kernels/cuda/conv2d_warpgroup_tile.cuh"

// How the multiplying groups write a tile of 4x4 maps. Each has a column of kFourImages images: its
// warp y row y of the map, lane l the images l / 4 and l / 4 + 8. In a cluster each block writes
// some images, of which it reads the sums that the lanes of all its blocks' warps have; all lanes
// of its own share their channels then.
namespace ddpm::cuda::warpgroup {

template <typename Form>
struct ResultOfFour {
  using Rows = RowsOfFour<Form>;
  static constexpr int kSplit = Form::kSplit;
  static constexpr int kLanes = kWarpThreads / kSplit;  // of a warp, that have a block's images
  static constexpr int kEights = kOut / 8 / kSplit;     // of channels, that a thread writes
  static constexpr int kThreads = 2 * kGroupThreads;    // of both groups
  using Sums = float[64];
  using Bias = __nv_bfloat162[kEights][2];

  const WarpgroupConv& conv;
  const WarpgroupConvTensors& t;
  Shared<Form>& shared;
  const Tile<Form>& tile;
  int rank, group, thread;  // of the block in its cluster; of the group

  /// Which eight of the tile's channels the thread's i-th are: it has two of them.
  __device__ int eight(int i) const { return i * kSplit + lane() / kLanes; }

  /// Both biases, rounded to bf16.
  __device__ void load_bias(Bias& bias) const {
    const auto pair = [&](const void* row, int64_t first, int i) {
      return *reinterpret_cast<const __nv_bfloat162*>(static_cast<const bf16*>(row) + first +
                                                      tile.out() + 8 * eight(i) + 2 * (lane() % 4));
    };
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int64_t image =
          min(tile.image + rank * (Rows::kImages / 2) + own_image() + 8 * h, conv.images - 1);
#pragma unroll
      for (int i = 0; i < kEights; ++i) {
        bias[i][h] = t.bias == nullptr ? __nv_bfloat162{} : pair(t.bias, image * t.bias_stride, i);
        if (t.more_bias != nullptr) bias[i][h] = __hadd2(bias[i][h], pair(t.more_bias, 0, i));
      }
    }
  }

  /// sums = those of all blocks of the cluster for what the thread writes: four of each eight().
  /// The order depends on nothing. The block's threads wait_for_cluster() before they end.
  __device__ void gather(Sums& sums) const {
    if constexpr (kSplit == 1) return;
    static_assert(kMultiplierWarps * (kOut / 8) * kWarpThreads * 16 <= sizeof(shared.pixels));
    take_pixels();
#pragma unroll
    for (int j = 0; j < kOut / 8; ++j) {
      store_quad(place(j, lane()),
                 {sums[4 * j], sums[4 * j + 1], sums[4 * j + 2], sums[4 * j + 3]});
    }
    arrive_in_cluster();
    wait_for_cluster();  // all is there
    const int with_own = rank * kLanes + lane() % kLanes;
#pragma unroll
    for (int i = 0; i < kEights; ++i) {
      float4 sum{0, 0, 0, 0};
#pragma unroll
      for (int block = 0; block < kSplit; ++block) {
        const float4 more = load_from_block(address_in_block(place(eight(i), with_own), block));
        sum = {sum.x + more.x, sum.y + more.y, sum.z + more.z, sum.w + more.w};
      }
      sums[4 * i] = sum.x;
      sums[4 * i + 1] = sum.y;
      sums[4 * i + 2] = sum.z;
      sums[4 * i + 3] = sum.w;
    }
    arrive_in_cluster();
  }

  /// Puts what the thread has, with bias and residual, into shared memory, for all to read.
  __device__ void write(const Sums& sums, const Bias& bias) const {
    if (t.residual == nullptr) meet_multipliers();  // all have read the last one
    const int column = Halo<Form>::column_of(tile.x, group) - tile.x;
    const int pixel = thread / kWarpThreads * 2 + column;
#pragma unroll
    for (int h = 0; h < 2; ++h) {
      const int image = own_image() + h * (Rows::kImages / 2);
      auto* row = reinterpret_cast<__nv_bfloat162*>(
          Rows::at(shared, rank * Rows::kOwn + image * Rows::kOfImage + pixel));
#pragma unroll
      for (int i = 0; i < kEights; ++i) {
        auto* at = row + 4 * eight(i) + lane() % 4;
        const float2 added = __bfloat1622float2(bias[i][h]);
        float2 value{sums[4 * i + 2 * h] + added.x, sums[4 * i + 2 * h + 1] + added.y};
        if (t.residual != nullptr) {
          const float2 more = __bfloat1622float2(*at);
          value = {value.x + more.x, value.y + more.y};
        }
        *at = __floats2bfloat162_rn(value.x, value.y);
      }
    }
    meet_multipliers();
  }

  __device__ void send() const {
    constexpr int kVectors = kOut / kPart, kAtOnce = kThreads / kVectors;
    const int vector = both() % kVectors;
    auto* out = static_cast<bf16*>(t.out) + tile.out() + vector * kPart;
#pragma unroll
    for (int i = 0; i < (Rows::kOwn + kAtOnce - 1) / kAtOnce; ++i) {
      const int row = rank * Rows::kOwn + both() / kVectors + i * kAtOnce;
      if (Rows::image(tile, row) >= conv.images) continue;
      *reinterpret_cast<uint4*>(out + Rows::place(tile, row) * conv.out_channels) =
          *reinterpret_cast<const uint4*>(Rows::at(shared, row) + vector * 16);
    }
  }

  /// Of half of each map that the block writes.
  __device__ void sum() const {
    constexpr int kPairs = kOut / 2;
    for (int i = both(); i < Rows::kImages * kPairs; i += kThreads) {
      const int pair = i % kPairs, first = rank * Rows::kOwn + i / kPairs * Rows::kOfImage;
      const int64_t image = Rows::image(tile, first);
      if (image >= conv.images) continue;
      float2 sum{0, 0}, squares{0, 0};
#pragma unroll
      for (int row = first; row < first + Rows::kOfImage; ++row) {
        const float2 value = __bfloat1622float2(
            reinterpret_cast<const __nv_bfloat162*>(Rows::at(shared, row))[pair]);
        sum = {sum.x + value.x, sum.y + value.y};
        squares = {fmaf(value.x, value.x, squares.x), fmaf(value.y, value.y, squares.y)};
      }
      const int64_t part = image * kPartsOfFour + tile.x / 2;
      reinterpret_cast<float4*>(t.sums + (part * conv.out_channels + tile.out()) * 2)[pair] = {
          sum.x, squares.x, sum.y, squares.y};
    }
  }

 private:
  __device__ int lane() const { return thread % kWarpThreads; }
  __device__ int both() const { return group * kGroupThreads + thread; }
  /// Of the block's images the first of the two that the thread writes.
  __device__ int own_image() const { return lane() % kLanes / 4; }
  /// Where a lane of the same warp of each block leaves four of its sums.
  __device__ uint32_t place(int eight, int of_lane) const {
    const int warp = both() / kWarpThreads;
    return shared_address(&shared.pixels) +
           ((warp * (kOut / 8) + eight) * kWarpThreads + of_lane) * 16;
  }
};

}  // namespace ddpm::cuda::warpgroup
