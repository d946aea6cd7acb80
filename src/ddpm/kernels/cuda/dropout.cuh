#pragma once

#include "ddpm/kernels/cuda/group_norm_silu_kernels.h"
#include "ddpm/kernels/cuda/philox.cuh"
#include "ddpm/kernels/cuda/vector_types.cuh"

namespace ddpm::cuda {

inline constexpr uint32_t kOtherThanLibTorch = 0x6b657074;  // its kernels draw with the seed itself

/// Of 2^16 draws as many are dropped; what is kept is divided by the share that is kept.
struct Dropout {
  uint32_t dropped;
  float factor;
  uint2 key;
  uint64_t first;

  __device__ Dropout(const GroupNormShape& shape, const RandomPlace& random)
      : dropped(static_cast<uint32_t>(shape.dropout * 65536.0f + 0.5f)),
        factor(65536.0f / static_cast<float>(65536u - min(dropped, 65535u))) {
    const uint64_t seed = random.seed_on_device != nullptr
                              ? static_cast<uint64_t>(*random.seed_on_device)
                              : random.seed;
    first =
        random.offset +
        (random.offset_on_device != nullptr ? static_cast<uint64_t>(*random.offset_on_device) : 0);
    key = make_uint2(low_word(seed), high_word(seed) ^ kOtherThanLibTorch);
  }
  /// Drops among the 8 values of vector i. @return bits of what is kept.
  __device__ uint32_t operator()(uint64_t i, float (&values)[kVector]) const {
    const uint4 draws = philox4x32_10(
        make_uint4(low_word(i), high_word(i), low_word(first), high_word(first)), key);
    const uint32_t words[4] = {draws.x, draws.y, draws.z, draws.w};
    uint32_t kept = 0;
#pragma unroll
    for (int c = 0; c < kVector; ++c) {
      const uint32_t draw = (c % 2 == 0 ? words[c / 2] : words[c / 2] >> 16) & 0xffffu;
      const bool keep = draw >= dropped;
      values[c] = keep ? values[c] * factor : 0.0f;
      kept |= static_cast<uint32_t>(keep) << c;
    }
    return kept;
  }
};

}  // namespace ddpm::cuda
