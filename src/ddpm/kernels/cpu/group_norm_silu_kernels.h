#pragma once

#include <cstdint>

namespace ddpm::cpu {

/// Maps [images, pixels, channels], channels innermost (NHWC), and what is computed on them.
struct GroupNormShape {
  int64_t images = 0;
  int64_t pixels = 0;
  int64_t channels = 0;
  int64_t groups = 0;  ///< divides channels
  float eps = 0;
  bool silu = true;
  bool bf16 = false;  ///< Type of every map and weight: bfloat16, or float32.
};

/// Pointers are null for what takes no part. All but mean and rstd are of the shape's type.
struct GroupNormTensors {
  const void* x = nullptr;       ///< [images, pixels, channels], as y.
  const void* weight = nullptr;  ///< [channels], as bias.
  const void* bias = nullptr;
  const void* time_embedding = nullptr;  ///< [images, channels], added to x; rows are strided.
  const void* scale = nullptr;           ///< [images, channels], with shift.
  const void* shift = nullptr;
  int64_t time_embedding_stride = 0;  ///< From one image's row to the next.
  int64_t scale_stride = 0;
  int64_t shift_stride = 0;
  float* mean = nullptr;  ///< [images, groups], written forward, read backward.
  float* rstd = nullptr;
};

/// The map that a norm writes: as x; or with zeros around it, as a convolution's tiles read it
/// (images_beside()).
struct NormedMap {
  void* y = nullptr;    ///< As x; or [images / b, height + 2 p, width + 2 p, b, channels].
  int64_t padding = 0;  ///< p; 0: as x.
  int64_t width = 0;    ///< Of x, as beside where there is padding.
  int64_t beside = 1;   ///< b, which divides images.
};

/// Gradients; null for those that nobody asks for, but for d_x and the sums.
struct GroupNormGradients {
  const void* d_y = nullptr;         ///< like x.
  void* d_x = nullptr;               ///< like x.
  void* d_time_embedding = nullptr;  ///< [images, channels] contiguous, as d_scale and d_shift.
  void* d_scale = nullptr;
  void* d_shift = nullptr;
  float* d_weight = nullptr;  ///< [images, channels]: each image's share, as d_bias.
  float* d_bias = nullptr;
};

/// A kernel's work falls into tasks that may run in any order and on any thread: each takes an
/// image and some of its groups. Results do not depend on who runs them.
int64_t group_norm_silu_tasks(const GroupNormShape& shape);

/// y = silu((1 + scale) * group_norm(x + time_embedding) + shift), see group_norm_silu.h, of tasks
/// begin to end - 1.
void group_norm_silu_forward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                             const NormedMap& y, int64_t begin, int64_t end);

/// All gradients, of tasks begin to end - 1.
void group_norm_silu_backward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                              const GroupNormGradients& gradients, int64_t begin, int64_t end);

}  // namespace ddpm::cpu
