#pragma once

#include "ddpm/kernels/cuda/map_attention_few.cuh"
#include "ddpm/kernels/cuda/warpgroup.cuh"

// The map in a block's shared memory, whose pixels are keys and values of its queries.
namespace ddpm::cuda::map_attention_few {

#if !defined(__CUDA_ARCH__) || __CUDA_ARCH__ >= 900

/// Of a map that comes into shared memory: each warp brings the pixels that are its keys.
class Keys {
 public:
  /// By all threads.
  __device__ Keys(Shared& shared, int pixels)
      : shared_(shared), first_(warp_index() * kWarpRows), count_(min(kWarpRows, pixels - first_)) {
    if (lane_index() == 0 && count_ > 0) {
      init_barrier(&shared.come[warp_index()], 1);
      show_writes_to_async_proxy();
      arrive_expecting(&shared.come[warp_index()], count_ * kMapChannels * sizeof(T));
    }
    __syncwarp();
  }
  __device__ bool are_there(int tile) const { return tile * kTileRows < count_; }

  __device__ void copy(const T* map) const {
    const int lane = lane_index(), key = first_ + lane;
    if (lane >= count_) return;
    copy_to_block(shared_.pixels[key], map + key * kMapChannels, kMapChannels * sizeof(T),
                  &shared_.come[warp_index()]);
  }

  /// scores = keys queries^T
  __device__ void multiply(Sums& scores) const {
    if (count_ <= 0) return;
    wait_for_phase(&shared_.come[warp_index()], 0);
    const int lane = lane_index();
    Sums others;
#pragma unroll 4
    for (int k = 0; k < kMapChannels; k += 32) {
      uint32_t queries[4];
      load_matrices(queries, shared_address(&shared_.queries[lane % 8][k + lane / 8 * 8]));
#pragma unroll
      for (int tile = 0; tile < kTiles; ++tile) {
        if (!are_there(tile)) break;
        uint32_t even[4], odd[4];
        const T* const key =
            &shared_.pixels[first_ + tile * kTileRows + lane % 16][k + lane / 16 * 8];
        load_matrices(even, shared_address(key));
        load_matrices(odd, shared_address(key + 16));
        multiply_add(scores.of[tile], even, queries);
        multiply_add(others.of[tile], odd, queries + 2);
      }
    }
    scores.add(others);
  }

 private:
  Shared& shared_;
  int first_, count_;
};

/// Puts what the warp's keys take of each query's softmax into shared.shares, rounded, and what
/// that adds up to.
inline __device__ void take_exponents(Shared& shared, const Keys& keys, const Sums& scores) {
  const int warp = warp_index(), lane = lane_index(), query = lane % 4 * 2;
  const auto greater = [](float a, float b) { return fmaxf(a, b); };
  float2 most{-INFINITY, -INFINITY}, sum{0, 0};
#pragma unroll
  for (int tile = 0; tile < kTiles; ++tile) {
    const float(&s)[4] = scores.of[tile];
    if (keys.are_there(tile)) {
      most = {fmaxf(most.x, fmaxf(s[0], s[2])), fmaxf(most.y, fmaxf(s[1], s[3]))};
    }
  }
  most = over_rows(most, greater);
  if (lane < 4) *reinterpret_cast<float2*>(&shared.most[warp][query]) = most;
  __syncthreads();
  most = over_warps(shared.most, greater);
  Pair shares{};
#pragma unroll
  for (int i = 0; i < kTiles * 2; ++i) {
    const int tile = i / 2, half = i % 2;
    if (!keys.are_there(tile)) break;
    const float* const s = scores.of[tile] + 2 * half;
    shares[tile][half] = rounded(exp2f(s[0] - most.x), exp2f(s[1] - most.y));
    const float2 value = unrounded(shares[tile][half]);
    sum = {sum.x + value.x, sum.y + value.y};
  }
  put_turned(shares, shared.shares);
  sum = over_rows(sum, [](float a, float b) { return a + b; });
  if (lane < 4) *reinterpret_cast<float2*>(&shared.sum[warp][query]) = sum;
  __syncthreads();
}

/// sums = pixels^T shares^T, of the warp's channels.
inline __device__ void sum_pixels(const Shared& shared, int pixels, Sums& sums) {
  const int lane = lane_index(), channel = warp_index() * kWarpRows + lane / 8 % 2 * 8;
  Sums odd;
#pragma unroll 4
  for (int k = 0; k < pixels; k += 32) {
    uint32_t values[4], shares[4];
    load_matrices(shares, shared_address(&shared.shares[lane % 8][k + lane / 8 * 8]));
    const T* const value = &shared.pixels[k + lane / 16 * 8 + lane % 8][channel];
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      load_turned_matrices(values, shared_address(value + tile * kTileRows));
      multiply_add(sums.of[tile], values, shares);
    }
    if (k + 16 >= pixels) break;
#pragma unroll
    for (int tile = 0; tile < kTiles; ++tile) {
      load_turned_matrices(values, shared_address(value + 16 * kRowStride + tile * kTileRows));
      multiply_add(odd.of[tile], values, shares + 2);
    }
  }
  sums.add(odd);
}

#endif

}  // namespace ddpm::cuda::map_attention_few
