#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm::cuda {

/// True for one head of a CUDA sequence of bfloat16 or float32, with gradients, that is short
/// enough to hold its scores. Without gradients LibTorch's flash attention is faster.
bool attention_is_fused(const Tensor& qkv, int64_t num_heads);

/// attention() of one head as one node of the autograd graph, by matrix products. Deterministic:
/// flash attention's backward pass is twice as slow where it has to be.
Tensor fused_attention(const Tensor& qkv);

/// True for so few queries of bf16 that one kernel by clusters does all, where no gradients are
/// wanted.
bool attention_is_of_few_pixels(const Tensor& qkv, int64_t num_heads);
Tensor few_pixels_attention(const Tensor& qkv, int64_t num_heads);

}  // namespace ddpm::cuda
