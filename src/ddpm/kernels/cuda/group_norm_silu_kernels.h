#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// Maps [images, pixels, channels], channels innermost (NHWC), and what is computed on them.
struct GroupNormShape {
  int images = 0;
  int pixels = 0;
  int channels = 0;  ///< Of x and x_rest together.
  int groups = 0;
  float eps = 0;
  bool silu = true;
  bool bf16 = false;      ///< Type of every map and weight: bfloat16, or float32.
  int rest_channels = 0;  ///< The last channels, which stand in x_rest; 0: all stand in x.
  float dropout = 0;      ///< Probability that an output is zeroed.
};

/// Where a launch stands in a stream of random numbers, as LibTorch's generator gives it. In a
/// captured graph the numbers stand on the device.
struct RandomPlace {
  uint64_t seed = 0;
  uint64_t offset = 0;
  const int64_t* seed_on_device = nullptr;    ///< Instead of seed.
  const int64_t* offset_on_device = nullptr;  ///< To be added to offset.
};

/// Pointers are null for what takes no part. All but mean and rstd are of the shape's type.
struct GroupNormTensors {
  const void* x = nullptr;       ///< [images, pixels, channels - rest_channels]
  const void* x_rest = nullptr;  ///< [images, pixels, rest_channels]
  const void* weight = nullptr;  ///< [channels], as bias.
  const void* bias = nullptr;
  const void* time_embedding = nullptr;  ///< [images, channels], added to x; rows are strided.
  const void* scale = nullptr;           ///< [images, channels], with shift.
  const void* shift = nullptr;
  int64_t time_embedding_stride = 0;  ///< From one image's row to the next.
  int64_t scale_stride = 0;           ///< The same, of scale and shift.
  float* mean = nullptr;              ///< [images, groups], written forward, read backward.
  float* rstd = nullptr;
  uint8_t* kept = nullptr;  ///< [images, pixels, channels / 8] bits: what dropout keeps. As mean.
  RandomPlace random;       ///< Of dropout.
};

/// Sums of the maps' gradients over images and pixels, [2, channels of the map] of its type:
/// rounded, and what rounding left. Null for those that nobody asks for, and for what adds nothing.
struct MapGradientSums {
  const void* d_skip = nullptr;  ///< Of what is added to d_x, as GroupNormGradients::d_skip.
  const void* d_skip_rest = nullptr;
  const void* d_later = nullptr;
  void* d_x = nullptr;  ///< Written.
  void* d_x_rest = nullptr;

  __host__ __device__ bool are_wanted() const { return d_x != nullptr || d_x_rest != nullptr; }
};

/// Gradients; null for those that nobody asks for, but for d_x.
struct GroupNormGradients {
  const void* d_y = nullptr;          ///< [images, pixels, channels]
  const void* d_skip = nullptr;       ///< like x, added to d_x.
  const void* d_skip_rest = nullptr;  ///< like x_rest, added to d_x_rest.
  const void* d_later = nullptr;      ///< like x, added to d_x, too; of clusters with SiLU alone.
  void* d_x = nullptr;                ///< like x.
  void* d_x_rest = nullptr;           ///< like x_rest.
  void* d_time_embedding = nullptr;   ///< [images, channels] contiguous, as d_scale and d_shift.
  void* d_scale = nullptr;
  void* d_shift = nullptr;
  void* d_weight = nullptr;  ///< [channels], as d_bias.
  void* d_bias = nullptr;
  MapGradientSums map_sums;  ///< Of clusters alone.
  float* sums = nullptr;     ///< [3, images, channels]: room for sums over pixels.
  void* y = nullptr;         ///< The output again, if it is wanted; of clusters with SiLU alone.
  void* y_rest = nullptr;    ///< Its last rest_channels, if they shall stand apart.
};

/// True if the kernels take the shape: groups divide channels, and bundles of whole groups hold a
/// multiple of 8 channels, at most 128.
bool group_norm_silu_fits(const GroupNormShape& shape);

/// True if group_norm_silu_forward is faster than clusters: they need many images to fill a device.
bool group_norm_silu_suits_blocks(const GroupNormShape& shape);

/// y = silu((1 + scale) * group_norm(x + time_embedding) + shift), see group_norm_silu.h. A map is
/// read once where a bundle's pixels fit into a block's registers.
///
/// @return what the launch answered.
cudaError_t group_norm_silu_forward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                                    void* y, cudaStream_t stream);

/// Gradients of group_norm_silu_forward, deterministic: sums are taken in an order that depends on
/// the shape alone. Those of weight and bias are left to group_norm_silu_sum_images.
cudaError_t group_norm_silu_backward(const GroupNormShape& shape, const GroupNormTensors& tensors,
                                     const GroupNormGradients& gradients, cudaStream_t stream);

/// True if the device runs clusters of blocks and the shape suits them: groups divide channels, all
/// numbers of channels are multiples of 8. Dropout, d_skip and the gradient of x_rest need them.
bool group_norm_silu_clusters(const GroupNormShape& shape);

/// The same with clusters, of x and x_rest side by side, and with dropout.
cudaError_t group_norm_silu_cluster_forward(const GroupNormShape& shape,
                                            const GroupNormTensors& tensors, void* y,
                                            cudaStream_t stream);
cudaError_t group_norm_silu_cluster_backward(const GroupNormShape& shape,
                                             const GroupNormTensors& tensors,
                                             const GroupNormGradients& gradients,
                                             cudaStream_t stream);

/// d_bias, d_weight and map_sums from gradients.sums, which either backward pass has filled.
cudaError_t group_norm_silu_sum_images(const GroupNormShape& shape,
                                       const GroupNormGradients& gradients, cudaStream_t stream);

}  // namespace ddpm::cuda
