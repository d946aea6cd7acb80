#pragma once

#include <bit>
#include <cstdint>

namespace ddpm::cpu {

/// Where a block of sums goes: rows of pixels, of which it holds some channels.
struct SumsTarget {
  const uint16_t* bias = nullptr;      ///< bfloat16, one a channel; may be null, as residual.
  const uint16_t* residual = nullptr;  ///< bfloat16, laid out as y.
  uint16_t* y = nullptr;               ///< bfloat16.
  int64_t stride = 0;                  ///< From a pixel to the next.
  int64_t images = 1;                  ///< By turns each has a pixel; a power of two.
  int64_t image_stride = 0;            ///< From one of them to the next.

  /// Where row `row` goes.
  int64_t place(int64_t row) const {
    return (row >> std::countr_zero(static_cast<uint64_t>(images))) * stride +
           (row & (images - 1)) * image_stride;
  }
};

/// y = bfloat16(sums + bias + residual).
///
/// @param sums [rows, width], of which the first `channels` columns count.
void round_sums(const float* sums, int64_t rows, int64_t width, int64_t channels,
                const SumsTarget& target);

}  // namespace ddpm::cpu
