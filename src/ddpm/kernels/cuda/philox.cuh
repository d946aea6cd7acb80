#pragma once

#include <cstdint>

namespace ddpm::cuda {

/// Philox4x32-10 (core/philox.h).
inline __device__ uint4 philox4x32_10(uint4 counter, uint2 key) {
#pragma unroll
  for (int round = 0; round < 10; ++round) {
    const uint32_t high0 = __umulhi(0xD2511F53u, counter.x);
    const uint32_t low0 = 0xD2511F53u * counter.x;
    const uint32_t high1 = __umulhi(0xCD9E8D57u, counter.z);
    const uint32_t low1 = 0xCD9E8D57u * counter.z;
    counter = make_uint4(high1 ^ counter.y ^ key.x, low1, high0 ^ counter.w ^ key.y, low0);
    key.x += 0x9E3779B9u;
    key.y += 0xBB67AE85u;
  }
  return counter;
}

inline __host__ __device__ uint32_t low_word(uint64_t bits) { return static_cast<uint32_t>(bits); }
inline __host__ __device__ uint32_t high_word(uint64_t bits) {
  return static_cast<uint32_t>(bits >> 32);
}

}  // namespace ddpm::cuda
