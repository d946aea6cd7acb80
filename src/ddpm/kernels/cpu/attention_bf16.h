#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm::cpu {

/// True if attend_bf16 takes these: bfloat16 on a CPU that multiplies it, and sizes of its tiles.
bool attention_has_bf16_blocks(const Tensor& qkv, int64_t num_heads);

/// attention() without gradients. Scores, their exponentials' sums and the result's sums are
/// float32; the exponentials are rounded for the second product.
Tensor attend_bf16(const Tensor& qkv, int64_t num_heads);

}  // namespace ddpm::cpu
