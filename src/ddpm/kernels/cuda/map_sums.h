#pragma once

#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm::cuda {

/// y += bias + residual + residual_bias in place, for channels_last maps; each may be undefined.
void add_to_map(const Tensor& y, const Tensor& bias, const Tensor& residual,
                const Tensor& residual_bias = {});

/// [C]: the sum of a channels_last map over images and pixels, computed if it is not kept with the
/// map, and kept.
Tensor sum_of_pixels(const Tensor& map);

/// Gives it, made beside, to all that are not null: gradients of biases that were added to a map.
/// @param d_y of the map they were added to.
void give_sums_of_pixels(const Tensor& d_y, const std::vector<Tensor*>& d_biases);

// What is kept with a map is that sum in two rows, [2, C] of the map's type: rounded, and what
// rounding left. Whoever writes a gradient may know it: the convolution before needs it for its
// bias. It counts until the map is written again.

/// Undefined if there is none.
Tensor kept_pixel_sums(const Tensor& map);

void keep_pixel_sums(const Tensor& map, const Tensor& sums);

/// Keeps with maps, whose pixels are those of `map` [N, C, H, W] times a weight [C, C' + C''],
/// their sums, if those of `map` are kept.
///
/// @param product [N, C', H, W] or undefined, as product_rest [N, C'', H, W].
void keep_product_sums(const Tensor& map, const Tensor& weight, const Tensor& product,
                       const Tensor& product_rest);

}  // namespace ddpm::cuda
