#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm {

/// What linear computes. Tensors that are left undefined take no part.
struct LinearArgs {
  Tensor x;              ///< [..., C]
  Tensor weight;         ///< [O, C]
  Tensor bias = {};      ///< [O]
  Tensor residual = {};  ///< like the result, which it is added to.
};

/// A product over the last dimension, with what is added to it; differentiable with respect to
/// every tensor:
///
///     y = x weight^T + bias + residual
///
/// @return [..., O]
Tensor linear(const LinearArgs& args);

}  // namespace ddpm
