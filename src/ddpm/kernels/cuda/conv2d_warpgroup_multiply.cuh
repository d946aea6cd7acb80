#pragma once

#include "ddpm/kernels/cuda/conv2d_warpgroup_four.cuh"
#include "ddpm/kernels/cuda/conv2d_warpgroup_split.cuh"
#include "ddpm/kernels/cuda/conv2d_warpgroup_tile.cuh"
#include "ddpm/kernels/cuda/early_launch.cuh"

// The warpgroups that multiply what stands in shared memory and write the result.
namespace ddpm::cuda::warpgroup {

template <typename Form>
struct Multiplier {
  const WarpgroupConv& conv;
  const WarpgroupConvTensors& t;
  Shared<Form>& shared;
  int group, thread;  // of the group
  Ring<kPixelStages> pixels;
  Ring<kWeightStages> weights;
  uint32_t result_phase = 0;

  using Around = Halo<Form>;
  static constexpr int kPatches = Form::kGroupPatches;  // of the group
  using Sums = float[kPatches][64];
  static constexpr int kBiasRows = Form::kSmall ? kPatches : 1;
  using Bias = __nv_bfloat162[kBiasRows][kOut / 8];

  __device__ int lane() const { return thread % kWarpThreads; }

  /// One of the kernel's taps, and which it is of those of a stage of weights.
  struct Tap {
    int row, column, index;
    bool is_outer = false;  // the last of its row
  };

  /// sums += one tap of a chunk.
  ///
  /// @param x The tile's first column.
  __device__ void multiply(Sums& sums, int x, const Tap& tap, bool add) const {
    constexpr uint32_t kPlane = Around::kSlots * 16;
    constexpr uint32_t kWeightPlane = kOut * 16;
    const uint64_t pixel_matrix = describe_matrix(kPlane, Around::kEightRows * 16);
    const uint64_t weight_matrix = describe_matrix(kWeightPlane, 8 * 16);
    const int offset = tap.row * Around::kPitch + tap.column * Around::kColumn;
    const uint32_t base = shared_address(shared.pixels[pixels.stage]);
    const uint32_t b = shared_address(shared.weights[weights.stage]) + tap.index * kTapBytes;
#pragma unroll
    for (int k = 0; k < kChunk / kStepK; ++k) {
      const uint64_t columns = matrix_at(weight_matrix, b + k * 2 * kWeightPlane);
#pragma unroll
      for (int p = 0; p < kPatches; ++p) {
        const int patch = kPatches * group + p;
        if (tap.is_outer && Around::lies_at_edge(patch)) continue;
        const uint32_t rows = base + (Around::patch(x, patch) + offset) * 16;
        multiply_64x128(sums[p], matrix_at(pixel_matrix, rows + k * 2 * kPlane), columns,
                        add || k > 0);
      }
    }
  }

  __device__ void multiply_all(Sums& sums, const Share<Form>& share, int x, int phase) {
    const int chunks = chunks_of(conv);
    int pixels_before = 0, weights_before = 0;
    for (int chunk = share.begin(); chunk < share.end(); chunk = share.next(chunk)) {
      wait_for_phase(&shared.pixels_full[pixels.stage], pixels.phase);
      const bool is_side = chunk >= chunks;
      const int rows = is_side ? 1 : count_taps<Form>(phase / 2);
      for (int row = 0; row < rows; ++row) {
        wait_for_phase(&shared.weights_full[weights.stage], weights.phase);
        const bool is_first = chunk == share.begin() && row == 0;
        begin_products();
        if (is_side) {
          multiply(sums, x, {.row = 1, .column = 1, .index = 0}, !is_first);
        } else if constexpr (Form::kTransposed) {
          const int odd = phase % 2;
          for (int i = 0; i < count_taps<Form>(odd); ++i) {
            multiply(sums, x, {row + phase / 2, i + odd, weight_tap<Form>(odd, i)},
                     !is_first || i > 0);
          }
        } else {
#pragma unroll
          for (int i = 0; i < Form::kTaps; ++i) {
            const int tap = Around::tap(x, i);
            multiply(sums, x, {row + phase / 2, tap + phase % 2, tap, i == kMostTaps - 1},
                     !is_first || i > 0);
          }
        }
        commit_products();
        wait_for_products<1>();
        if (!is_first) {
          arrive_as_warp(&shared.weights_empty[weights_before]);
          if (row == 0) arrive_as_warp(&shared.pixels_empty[pixels_before]);
        }
        weights_before = weights.stage;
        weights.advance();
      }
      pixels_before = pixels.stage;
      pixels.advance();
    }
    wait_for_products<0>();
    arrive_as_warp(&shared.weights_empty[weights_before]);
    arrive_as_warp(&shared.pixels_empty[pixels_before]);
  }

  /// Both biases, rounded to bf16.
  __device__ void load_bias(const Tile<Form>& tile, Bias& bias) const {
    const auto pair = [&](const void* row, int64_t first, int j) {
      return *reinterpret_cast<const __nv_bfloat162*>(static_cast<const bf16*>(row) + first +
                                                      tile.out() + 8 * j + 2 * (lane() % 4));
    };
#pragma unroll
    for (int p = 0; p < kBiasRows; ++p) {
      const int64_t image = min(tile.image_of(kPatches * group + p), conv.images - 1);
#pragma unroll
      for (int j = 0; j < kOut / 8; ++j) {
        bias[p][j] = t.bias == nullptr ? __nv_bfloat162{} : pair(t.bias, image * t.bias_stride, j);
        if (t.more_bias != nullptr) bias[p][j] = __hadd2(bias[p][j], pair(t.more_bias, 0, j));
      }
    }
  }

  /// Of the group's two patches those that the block writes.
  __device__ bool writes(const Share<Form>& share, int p) const {
    return (kPatches * group + p) / share.patches() == share.rank();
  }

  /// Puts the group's patches with bias and residual into shared memory.
  __device__ void write_result(const Sums& sums, const Bias& bias, const Share<Form>& share) {
    wait_for_phase(&shared.result_full, result_phase);
    result_phase ^= 1;
#pragma unroll
    for (int p = 0; p < kPatches; ++p) {
      if (!writes(share, p)) continue;
#pragma unroll
      for (int j = 0; j < kOut / 8; ++j) {
        const float2 added = __bfloat1622float2(bias[Form::kSmall ? p : 0][j]);
#pragma unroll
        for (int h = 0; h < 2; ++h) {
          const int row = (kPatches * group + p) * kPatchPixels + thread / kWarpThreads * 16 +
                          lane() / 4 + 8 * h;
          auto* at = reinterpret_cast<__nv_bfloat162*>(shared.result[row]) + 4 * j + lane() % 4;
          float2 value{sums[p][4 * j + 2 * h] + added.x, sums[p][4 * j + 2 * h + 1] + added.y};
          if (t.residual != nullptr) {
            const float2 more = __bfloat1622float2(*at);
            value = {value.x + more.x, value.y + more.y};
          }
          *at = __floats2bfloat162_rn(value.x, value.y);
        }
      }
    }
  }

  __device__ void sum_result(const Tile<Form>& tile, const Share<Form>& share) const {
    if (thread / kPatchPixels >= kPatches) return;
    const int patch = kPatches * group + thread / kPatchPixels, pair = thread % kPatchPixels;
    const int image = tile.image_of(patch);
    if (image >= conv.images || !writes(share, thread / kPatchPixels)) return;
    float2 sum{0, 0}, squares{0, 0};
#pragma unroll 16
    for (int row = 0; row < kPatchPixels; ++row) {
      const float2 value = __bfloat1622float2(
          reinterpret_cast<const __nv_bfloat162*>(shared.result[patch * kPatchPixels + row])[pair]);
      sum = {sum.x + value.x, sum.y + value.y};
      squares = {fmaf(value.x, value.x, squares.x), fmaf(value.y, value.y, squares.y)};
    }
    auto* to = reinterpret_cast<float4*>(
        t.sums + (tile.part(conv, patch) * conv.out_channels + tile.out()) * 2);
    to[pair] = {sum.x, squares.x, sum.y, squares.y};
  }

  __device__ void send_result(const Tile<Form>& tile, const Share<Form>& share) const {
    constexpr int kVectors = kOut / kPart;         // of a row
    static_assert(kGroupThreads / kVectors == 8);  // a row of a patch at once
    const int vector = thread % kVectors, x = thread / kVectors;
#pragma unroll
    for (int p = 0; p < kPatches; ++p) {
      const int patch = kPatches * group + p;
      if (tile.image_of(patch) >= conv.images) return;
      if (!writes(share, p)) continue;
      auto* out = static_cast<bf16*>(t.out) + tile.place(conv, patch, x) * conv.out_channels +
                  tile.out() + vector * kPart;
      const int64_t row =
          static_cast<int64_t>(conv.width) * (Form::kPhases ? 4 : 1) * conv.out_channels;
#pragma unroll
      for (int y = 0; y < 8; ++y) {
        *reinterpret_cast<uint4*>(out + y * row) = *reinterpret_cast<const uint4*>(
            shared.result[patch * kPatchPixels + y * 8 + x] + vector * 16);
      }
    }
  }

  /// Of 4x4 maps.
  __device__ void multiply_tiles_of_four(const Tiles& tiles, const Share<Form>& share) {
    Sums sums;
    wait_for_previous_kernel();
    for (int index = share.tile(); index < tiles.count; index += share.step()) {
      const Tile<Form> tile(tiles, index);
      const ResultOfFour<Form> result{conv, t, shared, tile, share.rank(), group, thread};
      typename ResultOfFour<Form>::Bias bias;
      result.load_bias(bias);
      multiply_all(sums, share, tile.x, /*phase=*/0);
      result.gather(sums[0]);
      if (t.residual != nullptr) {
        wait_for_phase(&shared.result_full, result_phase);
        result_phase ^= 1;
      }
      result.write(sums[0], bias);
      result.send();
      if (t.sums != nullptr) result.sum();
      if (t.residual != nullptr) arrive(&shared.result_done);
    }
    if constexpr (Form::kSplit > 1) wait_for_cluster();  // others read from the block until then
  }

  __device__ void multiply_tiles(const Tiles& tiles, const Share<Form>& share) {
    Sums sums;
    Bias bias;
    wait_for_previous_kernel();
    for (int index = share.tile(); index < tiles.count; index += share.step()) {
      const Tile<Form> tile(tiles, index);
      if constexpr (Form::kSplit == 1) load_bias(tile, bias);  // on its way meanwhile
      multiply_all(sums, share, tile.x, tile.phase);
      if constexpr (Form::kSplit > 1) {
        add_parts_of_cluster<Form>(sums, shared, {share.rank(), group, thread});
        if (group != share.first_patch() / kPatches) return;
        load_bias(tile, bias);
      }
      write_result(sums, bias, share);
      if constexpr (Form::kFeedersSend) {
        arrive(&shared.result_done);
      } else {
        meet(1 + group, kGroupThreads);
        send_result(tile, share);
        if (t.sums != nullptr) sum_result(tile, share);
      }
    }
    if constexpr (Form::kSplit > 1) wait_for_cluster();  // others read from the block until then
  }
};

}  // namespace ddpm::cuda::warpgroup
