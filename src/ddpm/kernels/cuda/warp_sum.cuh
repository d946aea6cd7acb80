#pragma once

namespace ddpm::cuda {

constexpr int kWarp = 32;

/// The sum of `value` over a warp's lanes, in every lane, always in the same order.
template <typename T>
__device__ __forceinline__ T warp_sum(T value) {
#pragma unroll
  for (int distance = kWarp / 2; distance > 0; distance /= 2) {
    value += __shfl_xor_sync(0xffffffffu, value, distance);
  }
  return value;
}

}  // namespace ddpm::cuda
