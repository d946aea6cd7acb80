#pragma once

#include <cstdint>

#include "ddpm/kernels/cpu/winograd_shapes.h"

namespace ddpm::cpu {

/// The gradient of a WinogradConvolution's weight, by [LG Sec. 4] with respect to w:
///
///     dW = G^T (sum over tiles of (B^T d B) * (A dY A^T)) G.
struct WinogradGradient {
  WinogradConvolution convolution;
  const float* x = nullptr;    ///< [N, C, H, W] channels_last
  const float* d_y = nullptr;  ///< [N, O, H', W'] channels_last
};

/// Channels whose products are summed up together.
struct WinogradBlock {
  int64_t first_in = 0, in = 0;    ///< at most kWinogradIn
  int64_t first_out = 0, out = 0;  ///< at most kWinogradOut
};
constexpr int64_t kWinogradIn = 64, kWinogradOut = 128;

/// Numbers that so many tiles take for a block, and its sums.
int64_t winograd_gradient_room(int64_t tiles);
constexpr int64_t kWinogradPointSums = kWinogradIn * kWinogradOut + 16;  // apart in the caches
constexpr int64_t kWinogradSums = kWinogradPoints * kWinogradPointSums;

/// Adds some tiles' products to a block's sums: of each point [64, 128] and 16 more numbers.
///
/// @param room winograd_gradient_room(); denormal numbers in it would take long.
void add_winograd_products(const WinogradGradient& gradient, const WinogradBlock& block,
                           const WinogradTiles& tiles, float* room, float* sums);

/// A block's part of dW [3, 3, C, O] from `parts` of sums that stand `part_step` apart.
void finish_winograd_gradient(const WinogradConvolution& convolution, const WinogradBlock& block,
                              const float* sums, int64_t parts, int64_t part_step, float* d_weight);

}  // namespace ddpm::cpu
