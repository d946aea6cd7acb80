#pragma once

#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/cuda/group_norm_silu_kernels.h"

namespace ddpm::cuda {

/// What a node with a norm gives: its result, and the norm's maps again, the first one twice; the
/// last only where there is one.
enum ForkOutput { kForkResult, kForkX, kForkXLater, kForkXRest };

std::vector<Tensor> fork_outputs(const Tensor& result, const Tensor& x, const Tensor& x_rest);

/// Gradients of a norm's maps. All are channels_last, and undefined if they take no part.
struct NormMapGradients {
  Tensor d_x, d_x_rest;                 ///< Written.
  Tensor d_skip, d_later, d_skip_rest;  ///< Added to them, the first two to d_x.

  /// @param d_outputs by ForkOutput.
  NormMapGradients(const Tensor& x_gradient, const Tensor& x_rest_gradient,
                   const std::vector<Tensor>& d_outputs);
};

/// All gradients of a norm, by whichever kernels suit it. Those of the maps come with kept sums of
/// their pixels, which follow from the norm's own and from those kept with the skips; but not where
/// a time embedding is added to x, since the bias of the convolution before is added with it.
///
/// @param gradients without those of the maps, and without room for sums.
void run_norm_backward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                       GroupNormGradients gradients, const NormMapGradients& maps);

}  // namespace ddpm::cuda
