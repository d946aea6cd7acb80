#pragma once

#include "ddpm/kernels/cuda/conv2d_warpgroup_four_norm.cuh"
#include "ddpm/kernels/cuda/conv2d_warpgroup_four_rows.cuh"
#include "ddpm/kernels/cuda/conv2d_warpgroup_tile.cuh"
#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/tensor_core.cuh"

// The warps that bring pixels of 4x4 maps into shared memory, of eight channels of each image a
// thread for each of the three columns that half a map and its neighbours are; and the one that
// brings the residual.
namespace ddpm::cuda::warpgroup {

template <typename Form>
struct FeederOfFour {
  const WarpgroupConv& conv;
  const WarpgroupConvTensors& t;
  const Tiles& tiles;
  Shared<Form>& shared;
  int part, first;  // of this thread: its channels, and which one it is of all with these

  using Around = Halo<Form>;
  using Rows = RowsOfFour<Form>;
  static constexpr int kColumns = 3, kRows = 4;
  static constexpr int kAhead = 2, kDry = kAhead + 1;  // chunks under way; rounds before them
  static constexpr int kThreads = kColumns * kFourImages * kParts;  // that bring pixels

  /// A chunk whose pixels are on their way.
  struct Chunk {
    EightOfFour eight;
    int column = 0;
    bool is_there = false, has_norm = false;
  };

  __device__ int slot(int column, int row) const {
    return column * Around::kColumn + (row + 1) * Around::kPitch + first % kFourImages;
  }

  /// Begins to copy a chunk into its stage, once that is free.
  ///
  /// @param is_dry Nothing is copied but zeros.
  __device__ Chunk begin(const Tile<Form>& tile, int chunk, const Ring<kPixelStages>& ring,
                         bool is_dry) const {
    wait_for_phase(&shared.pixels_empty[ring.stage], ring.phase ^ 1);
    const bool is_side = chunk >= chunks_of(conv);
    const int first_channels = is_side ? conv.side_channels : conv.channels;
    int channel = (is_side ? chunk - chunks_of(conv) : chunk) * kChunk;
    const int image = tile.image + first % kFourImages, column = first / kFourImages;
    const Chunk begun{
        .eight = {.image = min(image, conv.images - 1),
                  .channel = channel + part * kPart,
                  .keeps_statistics = column == 0 && tile.x == 0 && tile.weight_column == 0},
        .column = column + tile.x / 2,
        .is_there = image < conv.images && !is_dry,
        .has_norm = has_norm(t) && !is_side && !is_dry};
    const bool is_rest = channel >= first_channels;
    const void* map = is_side ? (is_rest ? t.side_rest : t.side) : (is_rest ? t.x_rest : t.x);
    int channels = first_channels;
    if (is_rest) {
      channel -= first_channels;
      channels = is_side ? conv.side_rest : conv.rest_channels;
    }
    const int64_t first_pixel = static_cast<int64_t>(begun.eight.image) * 16 + begun.column;
    const auto* from =
        static_cast<const bf16*>(map) + first_pixel * channels + channel + part * kPart;
    auto* to = shared.pixels[ring.stage][part];
#pragma unroll
    for (int y = 0; y < kRows; ++y) {
      copy_async_or_zero(to + slot(begun.column, y), from + 4 * y * channels, begun.is_there);
    }
    return begun;
  }

  /// Takes the norm of a chunk that has come.
  __device__ void take_norm(const Chunk& chunk, const NormOfEight& halves, int stage) const {
    constexpr int kLoads = 2;
    auto* pixels = shared.pixels[stage][part];
#pragma unroll
    for (int begin = 0; begin < kRows; begin += kLoads) {
      uint4 values[kLoads];
#pragma unroll
      for (int i = 0; i < kLoads; ++i) values[i] = pixels[slot(chunk.column, begin + i)];
#pragma unroll
      for (int i = 0; i < kLoads; ++i) {
        const uint4 value = norm_silu_of_halves(values[i], halves);
        if (chunk.is_there) pixels[slot(chunk.column, begin + i)] = value;
      }
    }
  }

  __device__ int count_chunks(const Share<Form>& share) const {
    return (tiles.count - share.tile() + share.step() - 1) / share.step() * share.count();
  }

  __device__ void feed_pixels(const Share<Form>& share) const {
    const int count = count_chunks(share);
    int index = share.tile(), chunk = share.begin();
    Tile<Form> tile(tiles, index);
    Ring<kPixelStages> ring, finished;
    Chunk older, newer;
    NormOfEight halves{};
    // What runs before the kernel before is done brings the code into its cache.
    for (int n = -kDry; n < count + kAhead; ++n) {
      if (n == 0) wait_for_previous_kernel();
      wait_for_copies<kAhead - 1>();
      if (n >= kAhead ? older.has_norm : n == -1) take_norm(older, halves, finished.stage);
      if (n >= kAhead) {
        show_writes_to_async_proxy();
        arrive_as_warp(&shared.pixels_full[finished.stage]);
        finished.advance();
      }
      older = newer;
      if (n == -kDry || (n >= 0 && n < count)) newer = begin(tile, chunk, ring, n < 0);
      if (n >= 0 && n < count) {
        ring.advance();
        if (chunk = share.next(chunk); chunk == share.end()) {
          chunk = share.begin();
          index += share.step();
          tile = Tile<Form>(tiles, index);
        }
      }
      commit_copies();
      if (older.has_norm) load_halves(halves, conv, t, older.eight);
    }
  }

  /// By one warp: puts the residual of what the block writes where the result will stand.
  __device__ void feed_residual(const Share<Form>& share) const {
    uint32_t phase = 1;
    wait_for_previous_kernel();
    for (int index = share.tile(); index < tiles.count; index += share.step(), phase ^= 1) {
      wait_for_phase(&shared.result_done, phase);
      copy_residual(Tile<Form>(tiles, index), share.rank());
      commit_copies();
      wait_for_copies<0>();
      arrive(&shared.result_full);
    }
  }
  __device__ void copy_residual(const Tile<Form>& tile, int rank) const {
    constexpr int kVectors = kOut / kPart, kAtOnce = kWarpThreads / kVectors;
    const int vector = lane() % kVectors;
    const auto* residual = static_cast<const bf16*>(t.residual) + tile.out() + vector * kPart;
#pragma unroll 4
    for (int i = lane() / kVectors; i < Rows::kOwn; i += kAtOnce) {
      const int row = rank * Rows::kOwn + i;
      const bool is_there = Rows::image(tile, row) < conv.images;
      const int64_t place = is_there ? Rows::place(tile, row) : 0;
      copy_async_or_zero(Rows::at(shared, row) + vector * 16, residual + place * conv.out_channels,
                         is_there);
    }
  }

  __device__ void feed_all(const Share<Form>& share) const {
    if (first * kParts < kThreads) {
      feed_pixels(share);
    } else if (t.residual != nullptr) {
      feed_residual(share);
    } else {
      wait_for_previous_kernel();
    }
  }

 private:
  static __device__ int lane() { return static_cast<int>(threadIdx.x) % kWarpThreads; }
};

}  // namespace ddpm::cuda::warpgroup
