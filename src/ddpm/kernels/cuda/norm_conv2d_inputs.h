#pragma once

#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {

/// The tensors of a convolution with a norm before it; the first ones are kept for its gradients.
enum NormConvInput {
  kMap,
  kMapRest,
  kNormWeight,
  kNormBias,
  kNormTime,
  kNormScale,
  kNormShift,
  kConvWeight,
  kSide,
  kSideRest,
  kSideWeight,
  kNumKept,
  kConvBias = kNumKept,
  kConvResidual,
  kConvResidualBias,
  kNumNormConvInputs
};

/// By NormConvInput; undefined tensors take no part.
///
/// @param args with a norm.
inline std::vector<Tensor> norm_conv_inputs(const Conv2dArgs& args) {
  const GroupNormSiluArgs& norm = *args.norm;
  const Conv2dArgs side = args.shortcut != nullptr ? *args.shortcut : Conv2dArgs();
  return {channels_last(args.x),
          channels_last(args.x_rest),
          norm.weight,
          norm.bias,
          with_dense_rows(norm.time_embedding),
          with_dense_rows(norm.scale),
          with_dense_rows(norm.shift),
          args.weight,
          channels_last(side.x),
          channels_last(side.x_rest),
          side.weight,
          args.bias,
          channels_last(args.residual),
          args.residual_bias};
}

/// The shortcut, given the inputs.
inline Conv2dArgs side_of(const std::vector<Tensor>& inputs) {
  return {.x = inputs[kSide], .x_rest = inputs[kSideRest], .weight = inputs[kSideWeight]};
}

}  // namespace ddpm::cuda
