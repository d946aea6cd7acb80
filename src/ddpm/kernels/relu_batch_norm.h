#pragma once

#include "ddpm/core/tensor.h"

namespace ddpm {

/// What relu_batch_norm computes.
struct ReluBatchNormArgs {
  Tensor x;                    ///< [N, C, H, W] float, before the ReLU.
  Tensor x_bias = {};          ///< [C], which x still lacks; undefined: nothing.
  Tensor weight;               ///< [C]
  Tensor bias;                 ///< [C]
  Tensor running_mean;         ///< [C] float32 (float64 for float64 maps).
  Tensor running_var;          ///< like running_mean.
  Tensor time_embedding = {};  ///< [N, C], added to every pixel after the norm; undefined: nothing.
  Tensor num_batches_tracked = {};  ///< [] int64, one more in training; undefined: none.
  double momentum = 0.1;            ///< of the running statistics.
  double eps = 1e-5;                ///< added to the variance.
  bool training = false;  ///< true: the batch's statistics, which the running ones take in.
};

/// What follows a convolution in the talk's blocks, in one pass over the map once its statistics
/// are known:
///
///     y = batch_norm(relu(x + x_bias)) + time_embedding
///
/// In training the running statistics and the number of batches change in place. Statistics are
/// float32 for bf16 maps. x + x_bias is rounded as x is. Differentiable with respect to x, x_bias,
/// weight, bias and time_embedding.
///
/// @return like x, channels_last.
/// @throws std::invalid_argument if a shape disagrees.
Tensor relu_batch_norm(const ReluBatchNormArgs& args);

}  // namespace ddpm
