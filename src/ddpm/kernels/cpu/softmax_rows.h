#pragma once

#include <cstdint>

namespace ddpm::cpu {

/// weights = exp(scale * (scores - the row's maximum)), rounded to bfloat16; and of each row one
/// over their sum. scale > 0.
///
/// @param scores  [rows, length]
/// @param weights [rows, length]
/// @param factors [rows]
void softmax_rows(const float* scores, int64_t rows, int64_t length, float scale, uint16_t* weights,
                  float* factors);

/// y = bfloat16(factor * sums), row by row.
///
/// @param sums [rows, width] @param factors [rows] @param y rows of width, `stride` apart.
void round_scaled_rows(const float* sums, const float* factors, int64_t rows, int64_t width,
                       uint16_t* y, int64_t stride);

}  // namespace ddpm::cpu
