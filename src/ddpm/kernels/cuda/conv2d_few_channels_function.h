#pragma once

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/cuda/map_part_sums.h"

namespace ddpm::cuda {

/// Whether few_channels_conv2d() computes it: a network's first or last convolution of pixels in
/// bf16, the last one with the norm before it.
bool fits_few_channels_conv2d(const Conv2dArgs& args);

/// The same where no gradients are wanted.
bool is_few_channels_conv2d(const Conv2dArgs& args);

/// conv2d() by conv2d_few_channels_kernels.h, without gradients. The first one's sums go with its
/// result (map_part_sums.h), the last one takes the norm before it.
///
/// @param statistics those of the args' norm come here; null: nobody wants them.
Tensor few_channels_conv2d(const Conv2dArgs& args, NormStatistics* statistics = nullptr);

/// Whether few_channels_input_gradient() computes it: that of a network's last convolution.
bool has_few_channels_input_gradient(const Tensor& d_y, const Tensor& weight);

/// The gradient of x of a 3x3 convolution of stride 1 and padding 1, given that of the result.
///
/// @param d_y    [N, O, H, W] channels_last.
/// @param weight [O, C, 3, 3]
/// @return       [N, C, H, W]
Tensor few_channels_input_gradient(const Tensor& d_y, const Tensor& weight);

/// Whether few_channels_weight_gradient() computes it: that of a network's first or last one.
bool has_few_channels_weight_gradient(const Tensor& d_y, const Tensor& x, const Tensor& weight);

/// The gradient of the weight of such a convolution.
///
/// @param d_y    [N, O, H, W] channels_last, as x [N, C, H, W].
/// @param weight [O, C, 3, 3]
Tensor few_channels_weight_gradient(const Tensor& d_y, const Tensor& x, const Tensor& weight);

}  // namespace ddpm::cuda
