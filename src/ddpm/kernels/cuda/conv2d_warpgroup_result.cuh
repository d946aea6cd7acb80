#pragma once

#include "ddpm/kernels/cuda/conv2d_warpgroup_tile.cuh"
#include "ddpm/kernels/cuda/tensor_core.cuh"
#include "ddpm/kernels/cuda/vector_types.cuh"

// The way of a patch between the maps and the place in shared memory where its result is made.
namespace ddpm::cuda::warpgroup {

/// By one warp: two neighbouring pixels at once, 16 lanes for each.
template <typename Form>
struct ResultSender {
  static constexpr int kVectors = kOut / kPart;  // of a pixel
  static constexpr int kSide = 8;                // of the patch
  static constexpr int kTimes = Form::kPhases ? 2 : 1;
  static_assert(2 * kVectors == kWarpThreads);

  const WarpgroupConv& conv;
  const WarpgroupConvTensors& t;
  Shared<Form>& shared;
  const Tile<Form>& tile;
  int patch;

  __device__ ResultSender(const WarpgroupConv& of, const WarpgroupConvTensors& tensors,
                          Shared<Form>& memory, const Tile<Form>& of_tile, int which)
      : conv(of), t(tensors), shared(memory), tile(of_tile), patch(which) {}

  __device__ static int vector() { return static_cast<int>(threadIdx.x) % kVectors; }
  __device__ static int odd() { return static_cast<int>(threadIdx.x) / kVectors % 2; }
  __device__ bool is_there() const { return tile.image_of(patch) < conv.images; }
  /// Of the lane in a map like the result.
  __device__ int64_t place() const {
    return tile.place(conv, patch, odd()) * conv.out_channels + tile.out() + vector() * kPart;
  }
  __device__ int row_step() const { return conv.width * kTimes * kTimes * conv.out_channels; }
  __device__ int two_pixels() const { return 2 * kTimes * conv.out_channels; }
  __device__ unsigned char* at(int y, int pair) const {
    return shared.result[patch * kPatchPixels + y * kSide + 2 * pair + odd()] + vector() * 16;
  }

  __device__ void take_residual() const {
    const bool there = is_there();
    const auto* from = static_cast<const bf16*>(t.residual) + (there ? place() : 0);
#pragma unroll 2
    for (int y = 0; y < kSide; ++y) {
#pragma unroll
      for (int pair = 0; pair < kSide / 2; ++pair) {
        copy_async_or_zero(at(y, pair), from + (there ? y * row_step() + pair * two_pixels() : 0),
                           there);
      }
    }
  }

  /// Writes the patch and leaves its sums.
  __device__ void send() const {
    if (!is_there()) return;
    auto* out = static_cast<bf16*>(t.out) + place();
    float sums[kPart] = {}, squares[kPart] = {};
#pragma unroll 1
    for (int y = 0; y < kSide; ++y, out += row_step()) {
      Packed<bf16> vectors[kSide / 2];
#pragma unroll
      for (int pair = 0; pair < kSide / 2; ++pair) {
        vectors[pair] = load_packed(reinterpret_cast<const bf16*>(at(y, pair)));
        store_packed(out + pair * two_pixels(), vectors[pair]);
      }
#pragma unroll
      for (int pair = 0; pair < kSide / 2; ++pair) {
        float values[kPart];
        unpack(vectors[pair], values);
#pragma unroll
        for (int c = 0; c < kPart; ++c) {
          sums[c] += values[c];
          squares[c] = fmaf(values[c], values[c], squares[c]);
        }
      }
    }
    if (t.sums != nullptr) leave_sums(sums, squares);
  }

  __device__ void leave_sums(float (&sums)[kPart], float (&squares)[kPart]) const {
    auto* to = reinterpret_cast<float2*>(t.sums) + tile.part(conv, patch) * conv.out_channels +
               tile.out() + vector() * kPart;
#pragma unroll
    for (int c = 0; c < kPart; ++c) {
      sums[c] += __shfl_xor_sync(~0U, sums[c], kVectors);
      squares[c] += __shfl_xor_sync(~0U, squares[c], kVectors);
      if (c % 2 == odd()) to[c] = {sums[c], squares[c]};
    }
  }
};

}  // namespace ddpm::cuda::warpgroup
