#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm::cpu {

/// A convolution's weight [O, C, k, k] in the order in which its products read it: with AMX that of
/// tiled_convolution.h; else for each 64 (or fewer) output channels and each kernel row the matrix
/// [k C, 64], two rows of it interleaved.
struct Bf16Blocks {
  Tensor blocks;  ///< bfloat16, flat.
  int64_t out_channels = 0;
  int64_t in_channels = 0;
  int64_t kernel = 1;
  int64_t width = 0;      ///< output channels of a block; those beyond out_channels are zeros.
  bool is_tiled = false;  ///< In AMX's order.
};

/// True if this LibTorch and CPU have products of bfloat16 blocks for such a weight.
bool has_bf16_blocks(const Tensor& weight);

/// Of a weight [O, C, k, k] for which has_bf16_blocks().
///
/// @param is_tiled in AMX's order; needs cpu_has_amx().
Bf16Blocks bf16_blocks_of(const Tensor& weight, bool is_tiled);

/// In AMX's order that of the weight [C, O, k, k] with which the gradient of a convolution's result
/// becomes that of what came in; O is a multiple of 32. Needs cpu_has_amx().
Bf16Blocks turned_bf16_blocks_of(const Tensor& weight);

/// y = conv(x, weight) + bias + residual in float32, rounded once; results do not depend on the
/// number of threads.
///
/// @param x        [N, C, H, W] bfloat16, channels_last.
/// @param bias     [O] bfloat16, or undefined.
/// @param residual like y, channels_last, or undefined.
/// @return         [N, O, H', W'] bfloat16, channels_last.
Tensor convolve_bf16(const Tensor& x, const Bf16Blocks& weight, const Tensor& bias,
                     const Tensor& residual, int64_t stride, int64_t padding);

/// Images beside each other in convolve_padded_bf16() of x with stride 1; 0: it takes no such x.
int64_t images_beside_bf16(const Tensor& x, const Bf16Blocks& weight, int64_t padding);

/// convolve_bf16() with stride 1 of x that comes with its padding: [N / b, H + 2 p, W + 2 p, b, C],
/// b of images_beside_bf16() by turns a pixel of each.
Tensor convolve_padded_bf16(const Tensor& x, const Bf16Blocks& weight, const Tensor& bias,
                            const Tensor& residual, int64_t padding);

/// x W^T + bias + residual over the last dimension of a contiguous x, kernel 1; as above.
Tensor multiply_bf16(const Tensor& x, const Bf16Blocks& weight, const Tensor& bias,
                     const Tensor& residual);

}  // namespace ddpm::cpu
