#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// Maps [images, pixels, channels], channels innermost (NHWC).
struct BatchNormShape {
  int images = 0;
  int pixels = 0;
  int channels = 0;  ///< a multiple of 8
  float eps = 0;
  float momentum = 0;
  bool training = false;
  bool bf16 = false;  ///< Type of maps, weights and time embedding: bfloat16, or float32.
};

/// Pointers are null for what takes no part.
struct BatchNormTensors {
  const void* x = nullptr;       ///< [images, pixels, channels]
  const void* x_bias = nullptr;  ///< [channels]
  const void* weight = nullptr;  ///< [channels], as bias.
  const void* bias = nullptr;
  const void* time_embedding = nullptr;  ///< [images, channels]
  int64_t time_stride = 0;               ///< from an image's embedding to the next; 8 divides it.
  float* running_mean = nullptr;         ///< [channels], changed in training.
  float* running_var = nullptr;
  int64_t* num_batches_tracked = nullptr;  ///< One more in training.
  float* mean = nullptr;  ///< [channels], written forward in training, read backward.
  float* rstd = nullptr;
};

/// Gradients; null for those that nobody asks for, but for d_x.
struct BatchNormGradients {
  const void* d_y = nullptr;         ///< like x.
  void* d_x = nullptr;               ///< like x.
  void* d_x_bias = nullptr;          ///< [channels]
  void* d_time_embedding = nullptr;  ///< [images, channels]
  void* d_weight = nullptr;          ///< [channels], as d_bias.
  void* d_bias = nullptr;
};

/// Floats of scratch that either pass needs.
int64_t batch_norm_scratch(const BatchNormShape& shape);

/// y = batch_norm(relu(x + x_bias)) + time_embedding, see kernels/relu_batch_norm.h. In training
/// one read for the statistics and one for the result. x + x_bias is rounded as x is.
///
/// @return what the launches answered.
cudaError_t relu_batch_norm_forward(const BatchNormShape& shape, const BatchNormTensors& tensors,
                                    void* y, float* scratch, cudaStream_t stream);

/// All gradients of the training pass, deterministic: sums are taken in an order that depends on
/// the shape alone. That of x_bias needs no sum over d_x: with m where x + x_bias > 0 and the means
/// over images and pixels,
///
///     d_x      = m * scale * (d_y - mean(d_y) - normed * mean(d_y * normed))
///     d_x_bias = scale * (sum(m * d_y) - sum(m) * mean(d_y) - sum_m * mean(d_y * normed))
///     sum_m    = sum(m * normed) = rstd * mean * (count - sum(m))
cudaError_t relu_batch_norm_backward(const BatchNormShape& shape, const BatchNormTensors& tensors,
                                     const BatchNormGradients& gradients, float* scratch,
                                     cudaStream_t stream);

}  // namespace ddpm::cuda
