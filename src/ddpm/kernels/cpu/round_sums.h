#pragma once

#include <cstdint>

namespace ddpm::cpu {

/// Where a block of sums goes: rows of pixels, `stride` apart, of which it holds some channels.
struct SumsTarget {
  const uint16_t* bias = nullptr;      ///< bfloat16, one a channel; may be null, as residual.
  const uint16_t* residual = nullptr;  ///< bfloat16, laid out as y.
  uint16_t* y = nullptr;               ///< bfloat16.
  int64_t stride = 0;
};

/// y = bfloat16(sums + bias + residual).
///
/// @param sums [rows, width], of which the first `channels` columns count.
void round_sums(const float* sums, int64_t rows, int64_t width, int64_t channels,
                const SumsTarget& target);

}  // namespace ddpm::cpu
