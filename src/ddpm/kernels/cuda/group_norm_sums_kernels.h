#pragma once

#include <cstdint>
#include <cuda_runtime_api.h>

namespace ddpm::cuda {

inline constexpr int kSumPixels = 64;       ///< Of a part of a map, at most: norm_from_sums() reads
                                            ///< few numbers of it then.
inline constexpr int kSmallSumPixels = 32;  ///< So that a single image of few pixels keeps many
                                            ///< multiprocessors busy.

/// Maps [images, pixels, channels] of bf16: channels a multiple of 8 and at most 2048.
struct SumsShape {
  int images = 0;
  int pixels = 0;
  int channels = 0;
};

/// Equal parts of an image of at most so many pixels each.
int parts_of_at_most(int most_pixels, const SumsShape& shape);

/// sums[image, part, channel] = the sum of the part's values and that of their squares.
///
/// @param parts of an image, which divides shape.pixels.
/// @param sums  [images, parts, channels, 2]
cudaError_t sum_parts(const SumsShape& shape, int parts, const void* map, float* sums,
                      cudaStream_t stream);

/// map += bias, and the same of what it holds then, in one pass.
///
/// @param bias [channels] bf16
cudaError_t add_bias_and_sum_parts(const SumsShape& shape, int parts, const void* bias, void* map,
                                   float* sums, cudaStream_t stream);

/// Where a map stands in a larger one: behind its first row and column.
struct InnerMap {
  int width = 0;
  int from_height = 0, from_width = 0;  ///< Of the larger one.
};

/// map = the inner map of `from` + bias, and the same.
///
/// @param from [images, from_height, from_width, channels]
cudaError_t add_bias_and_sum_inner_parts(const SumsShape& shape, const InnerMap& inner, int parts,
                                         const void* bias, const void* from, void* map, float* sums,
                                         cudaStream_t stream);

/// A group norm of two maps whose channels stand side by side, given the sums of their parts.
struct NormFromSums {
  int images = 0;
  int pixels = 0;
  int parts = 0, rest_parts = 0;        ///< Whatever an image's sums add up from.
  int channels = 0, rest_channels = 0;  ///< At most 2048 together.
  int groups = 0;                       ///< Divides both together.
  float eps = 0;
  const float* sums = nullptr;       ///< [images, parts, channels, 2]
  const float* rest_sums = nullptr;  ///< [images, rest_parts, rest_channels, 2]
  const void* weight = nullptr;      ///< [channels + rest_channels] bf16, as bias.
  const void* bias = nullptr;
  const void* scale = nullptr;  ///< [images, channels + rest_channels] bf16, with shift; or null.
  const void* shift = nullptr;
  int64_t scale_stride = 0;              ///< From one image's row to the next, of scale and shift.
  const void* time_embedding = nullptr;  ///< [images, channels + rest_channels] bf16, added to x.
  int64_t time_embedding_stride = 0;     ///< From one image's row to the next.
  float* mean = nullptr;                 ///< [images, groups] of x + time_embedding; or null.
  float* rstd = nullptr;                 ///< The same of 1 / deviation.
};

/// norm[image, channel] = a and b, such that
///
///     a x + b = (1 + scale) * group_norm(x + time_embedding) + shift
///
/// @param norm [images, channels + rest_channels, 2]
cudaError_t norm_from_sums(const NormFromSums& from, float* norm, cudaStream_t stream);

}  // namespace ddpm::cuda
