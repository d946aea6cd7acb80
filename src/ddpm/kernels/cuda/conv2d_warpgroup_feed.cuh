#pragma once

#include "ddpm/kernels/cuda/conv2d_warpgroup_result.cuh"
#include "ddpm/kernels/cuda/conv2d_warpgroup_tile.cuh"
#include "ddpm/kernels/cuda/early_launch.cuh"
#include "ddpm/kernels/cuda/norm_silu.cuh"
#include "ddpm/kernels/cuda/tensor_core.cuh"

// The warps that bring weights, pixels and residual into shared memory.
namespace ddpm::cuda::warpgroup {

template <typename Form>
struct WeightFeeder {
  const WarpgroupConv& conv;
  const WarpgroupConvTensors& t;
  Shared<Form>& shared;
  int lane;
  Ring<kWeightStages> ring;

  __device__ void feed(const unsigned char* weight, int bytes) {
    wait_for_phase(&shared.weights_empty[ring.stage], ring.phase ^ 1);
    if (lane == 0) {
      arrive_expecting(&shared.weights_full[ring.stage], bytes);
      copy_to_block(shared.weights[ring.stage], weight, bytes, &shared.weights_full[ring.stage]);
    }
    ring.advance();
  }

  __device__ void feed_all(const Tiles& tiles, const Share<Form>& share) {
    constexpr int kRowBytes = Form::kTaps * kTapBytes;
    const int chunks = chunks_of(conv), side_chunks = side_chunks_of(conv);
    for (int index = share.tile(); index < tiles.count; index += share.step()) {
      const Tile<Form> tile(tiles, index);
      const int64_t column = tile.weight_column;
      const int odd = tile.phase / 2, rows = count_taps<Form>(odd);
      const auto* weight =
          static_cast<const unsigned char*>(t.weight) + column * chunks * Form::kTaps * kRowBytes;
      const auto* side =
          static_cast<const unsigned char*>(t.side_weight) + column * side_chunks * kTapBytes;
      for (int chunk = share.begin(), end = share.main_end(); chunk < end; ++chunk) {
        for (int i = 0; i < rows; ++i) {
          feed(weight + (chunk * Form::kTaps + weight_tap<Form>(odd, i)) * kRowBytes, kRowBytes);
        }
      }
      for (int chunk = share.side_begin(); chunk < share.side_end(); ++chunk) {
        feed(side + chunk * kTapBytes, kTapBytes);
      }
    }
  }
};

/// A chunk whose pixels are on their way.
struct Chunk {
  uint32_t inside = 0;          // of the thread's pixels, those of the map; the others are zero
  const float* norm = nullptr;  // of the thread's channels; none: as they are
  bool makes_room = false;      // for a tile's result, whose residual comes with it
};

template <typename Form>
struct PixelFeeder {
  const WarpgroupConv& conv;
  const WarpgroupConvTensors& t;
  const Tiles& tiles;
  Shared<Form>& shared;
  int part, first;  // of this thread: its channels and first pixel

  using Around = Halo<Form>;
  // In small tiles each image has an equal share of the threads.
  static constexpr int kImageStride = kPixelStride / (Form::kSmall ? Form::kPatches : 1);
  static constexpr int kTileSlots = Form::kSmall ? kPatchPixels : 18 * 18;
  static constexpr int kCount = (kTileSlots + kImageStride - 1) / kImageStride;
  static constexpr int kZero = -1, kNone = -2;

  __device__ int image_of(const Tile<Form>& tile) const {
    return Form::kSmall ? tile.image + first / kImageStride : tile.image;
  }

  /// Of the thread's pixel k. The last may be none: where nobody writes, behind all.
  __device__ int slot(int k) const {
    int pixel = (Form::kSmall ? first % kImageStride : first) + k * kImageStride;
    if (k + 1 == kCount) pixel = min(pixel, kTileSlots);
    if constexpr (Form::kSmall) {
      return (first / kImageStride * 9 + pixel / 8 + 1) * Around::kPitch + pixel % 8 + 1;
    } else {
      static_assert(kTileSlots < Around::kSlots);
      return pixel;
    }
  }

  /// Where the thread's pixel k stands in the image's map, or that it is zero or none.
  __device__ int place(const Tile<Form>& tile, int own, int k) const {
    const int i = own + k * kImageStride;
    const int y = Form::kSmall ? i / 8 : tile.y + i / Around::kPitch - 1;
    const int x = Form::kSmall ? i % 8 : tile.x + i % Around::kPitch - 1;
    if (i >= kTileSlots) return kNone;
    if (static_cast<unsigned>(y) >= static_cast<unsigned>(conv.height) ||
        static_cast<unsigned>(x) >= static_cast<unsigned>(conv.width)) {
      return kZero;
    }
    return y * conv.width + x;
  }

  /// Begins to copy a chunk into its stage, once that is free.
  __device__ Chunk begin(const Tile<Form>& tile, int chunk, const Ring<kPixelStages>& ring) const {
    wait_for_phase(&shared.pixels_empty[ring.stage], ring.phase ^ 1);
    const int image = image_of(tile);
    if (image >= conv.images) return {};
    const bool is_side = chunk >= chunks_of(conv);
    const int first_channels = is_side ? conv.side_channels : conv.channels;
    int channel = (is_side ? chunk - chunks_of(conv) : chunk) * kChunk;
    Chunk begun;
    if (t.norm != nullptr && !is_side) {
      const int64_t row = static_cast<int64_t>(image) * (conv.channels + conv.rest_channels);
      begun.norm = t.norm + (row + channel + part * kPart) * 2;
    }
    const bool is_rest = channel >= first_channels;
    const void* map = is_side ? (is_rest ? t.side_rest : t.side) : (is_rest ? t.x_rest : t.x);
    int channels = first_channels;
    if (is_rest) {
      channel -= first_channels;
      channels = is_side ? conv.side_rest : conv.rest_channels;
    }
    const int pixels = conv.height * conv.width;
    const auto* from = static_cast<const bf16*>(map) +
                       static_cast<int64_t>(image) * pixels * channels + channel + part * kPart;
    auto* to = shared.pixels[ring.stage][part];
    int own = Form::kSmall ? first % kImageStride : first;
    asm volatile(""
                 : "+r"(own));  // what follows from it is cheaper than the registers to keep it in
#pragma unroll
    for (int k = 0; k < kCount; ++k) {
      const int at = place(tile, own, k);
      if (at >= 0) begun.inside |= 1U << k;
      if (at != kNone) copy_async_or_zero(to + slot(k), from + max(at, 0) * channels, at >= 0);
    }
    return begun;
  }

  /// Puts the residual where the tile's result will stand: a warp for each patch.
  __device__ void bring_residual(const Tile<Form>& tile, const Share<Form>& share) const {
    const int own = static_cast<int>(threadIdx.x) / kWarpThreads - 1;
    if (t.residual != nullptr && own < share.patches()) {
      ResultSender<Form>(conv, t, shared, tile, share.first_patch() + own).take_residual();
    }
  }

  /// Sends the result of a tile, once it is written.
  __device__ void end_result(int index, uint32_t phase) const {
    wait_for_phase(&shared.result_done, phase);
    const int own = static_cast<int>(threadIdx.x) / kWarpThreads - 1;
    if (own < Form::kPatches) {
      ResultSender<Form>(conv, t, shared, Tile<Form>(tiles, index), own).send();
    }
  }

  /// Takes the norm of a chunk that has come and hands it over.
  __device__ void finish(const Chunk& chunk, const NormOfEight& halves, int stage) const {
    if (chunk.norm != nullptr) {
      constexpr int kLoads = 2;
      auto* pixels = shared.pixels[stage][part];
#pragma unroll
      for (int begin = 0; begin < kCount; begin += kLoads) {
        uint4 values[kLoads];
#pragma unroll
        for (int k = 0; k < kLoads && begin + k < kCount; ++k) values[k] = pixels[slot(begin + k)];
#pragma unroll
        for (int k = 0; k < kLoads && begin + k < kCount; ++k) {
          const uint4 value = norm_silu_of_halves(values[k], halves);
          if ((chunk.inside >> (begin + k) & 1) != 0) pixels[slot(begin + k)] = value;
        }
      }
    }
    show_writes_to_async_proxy();
    arrive_as_warp(&shared.pixels_full[stage]);
    if (chunk.makes_room) arrive(&shared.result_full);
  }

  __device__ void feed_all(const Share<Form>& share) const {
    constexpr int kAhead = 2;  // chunks under way; of four stages the multipliers hold two
    // By then the tile before is as good as written.
    const int result_chunk = Form::kFeedersSend ? kAhead + 1 : share.begin();
    const int own_tiles = (tiles.count - share.tile() + share.step() - 1) / share.step();
    const int own = own_tiles * share.count();
    int index = share.tile(), chunk = share.begin();
    Tile<Form> tile(tiles, index);
    Ring<kPixelStages> ring;
    uint32_t result_phase = 0;
    Chunk older, newer;
    NormOfEight halves;
    wait_for_previous_kernel();
    for (int n = 0; n < own + kAhead; ++n) {
      if (n >= kAhead) {
        wait_for_copies<kAhead - 1>();
        finish(older, halves, (n - kAhead) % kPixelStages);
      }
      older = newer;
      if (older.norm != nullptr) halves.load_halves(older.norm);
      if (n < own) {
        newer = begin(tile, chunk, ring);
        ring.advance();
        if (chunk == result_chunk) {
          if (Form::kFeedersSend && index != share.tile()) {
            end_result(index - share.step(), result_phase);
            result_phase ^= 1;
            halves = {};  // its registers were lent meanwhile
            if (older.norm != nullptr) halves.load_halves(older.norm);
          }
          bring_residual(tile, share);
          newer.makes_room = true;
        }
        chunk = share.next(chunk);
        if (chunk == share.end()) {
          chunk = share.begin();
          index += share.step();
          tile = Tile<Form>(tiles, index);
        }
      }
      commit_copies();
    }
    if constexpr (Form::kFeedersSend) end_result(index - share.step(), result_phase);
  }
};

}  // namespace ddpm::cuda::warpgroup
