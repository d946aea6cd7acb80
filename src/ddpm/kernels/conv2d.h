#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"

namespace ddpm {

class PackedWeight;
struct GroupNormSiluArgs;

/// What conv2d computes. Tensors that are left undefined take no part.
struct Conv2dArgs {
  Tensor x;                   ///< [N, C, H, W] float, channels_last.
  Tensor x_rest = {};         ///< [N, C', H, W] whose channels stand behind x's: C + C' come in.
  Tensor weight;              ///< [O, C, k, k]; transposed: [C, O, k, k]. channels_last.
  Tensor bias = {};           ///< [O]
  Tensor residual = {};       ///< like the result, which it is added to.
  Tensor residual_bias = {};  ///< [O], which the residual still lacks.
  int64_t stride = 1;         ///< of both sides, as padding.
  int64_t padding = 0;
  bool padded = false;  ///< pad_right_and_bottom(x) comes in.
  bool transposed = false;
  bool upsampled = false;  ///< upsample_nearest_2x(x) comes in: kernel 3, stride 1, padding 1 only.
  /// The weight as PackedWeight::of_conv2d packed it; taken on a CPU where no gradients are wanted
  /// and the weight has not changed since.
  const PackedWeight* packed = nullptr;
  /// A convolution whose result is the residual, in whose place it stands.
  const Conv2dArgs* shortcut = nullptr;
  /// group_norm_silu() of x and x_rest comes in, by these arguments but for their x.
  const GroupNormSiluArgs* norm = nullptr;
  Tensor image_bias = {};  ///< [N, O], added to every pixel of an image.
};

/// A convolution with what a res block adds to it:
///
///     y = conv(x, weight) + bias + image_bias + residual + residual_bias
///
/// Differentiable with respect to every tensor.
///
/// @return [N, O, H', W'], channels_last.
/// @throws std::invalid_argument if the residual's shape is not the result's.
Tensor conv2d(const Conv2dArgs& args);

/// What conv2d_fork answers.
struct Conv2dFork {
  Tensor y;             ///< [N, O, H', W'] conv2d of the arguments.
  Tensor x;             ///< args.x again; or both maps side by side, and then x_rest is undefined.
  Tensor x_rest;        ///< args.x_rest again.
  Tensor x_later = {};  ///< args.x once more, for a second reader.
};

/// conv2d of arguments with a norm, for callers that read the maps again: as group_norm_silu_fork.
Conv2dFork conv2d_fork(const Conv2dArgs& args);

/// conv2d of arguments that are `padded`, for callers that read x again: a GPU adds the gradient of
/// what they take from the answer in a pass that it makes anyway.
Conv2dFork padded_conv2d_fork(const Conv2dArgs& args);

/// Whether conv2d() computes it with norm, image_bias and shortcut in one pass over its maps, so
/// that callers may leave these to it. On Hopper's GPUs, in bf16, without gradients: where maps
/// have many pixels, or few. With gradients it does the same for arguments with a norm and without
/// image_bias, by conv2d_fork() or conv2d(), where maps have many.
bool conv2d_is_one_pass(const Conv2dArgs& args);

}  // namespace ddpm
