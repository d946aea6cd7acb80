#pragma once

#include <cuda_runtime_api.h>

#include "ddpm/kernels/cuda/conv2d_few_pixels_kernels.h"

namespace ddpm::cuda {

inline constexpr int kMapPixels = 256;    ///< Of a map that attend_map() takes.
inline constexpr int kMapChannels = 256;  ///< Of its only head as well.

/// What the backward pass needs, in bf16; null: it is not kept. `queries` and `probabilities` have
/// room behind each image for as much again.
struct MapAttentionSaved {
  void* normed = nullptr;         ///< [images, kMapPixels, kMapChannels] n
  void* queries = nullptr;        ///< [images, 2, kMapPixels, kMapChannels]: n W^T + b of scores.
  void* probabilities = nullptr;  ///< [images, 2, kMapPixels, kMapPixels]
  void* attended = nullptr;       ///< Like normed: probabilities n.
};

/// What attend_map() reads and writes. All but norm and sums are bf16.
///
/// With one head as wide as the map, queries and keys meet only in the product of their weights,
/// and values and the projection behind them likewise [docs/decisions.md 56]:
///
///     score_weight = W_k^T W_q,    score_bias = W_k^T b_q
///     out_weight   = W_out W_v,    out_bias   = W_out b_v + b_out
struct MapAttention {
  int images = 0;
  const void* x = nullptr;             ///< [images, kMapPixels, kMapChannels]
  const float* norm = nullptr;         ///< [images, kMapChannels, 2] a and b: n = a x + b.
  const void* score_weight = nullptr;  ///< [2, 8, 4, 128 of out, 8 of in], by pack_conv2d_tiles().
  const void* score_bias = nullptr;    ///< [kMapChannels]
  const void* out_weight = nullptr;    ///< As score_weight.
  const void* out_bias = nullptr;      ///< [kMapChannels]
  void* out = nullptr;                 ///< Like x.
  float* sums = nullptr;  ///< [images, kMapPixels / 64, kMapChannels, 2]: of parts of 64 pixels of
                          ///< out, the sums of values and of squares; null: nobody wants them.
  MapAttentionSaved saved;
};

/// out = x + softmax((n score_weight^T + score_bias) n^T / sqrt(kMapChannels)) n out_weight^T +
/// out_bias, products of bf16 summed in float32. On devices that have conv2d_warpgroup() alone.
cudaError_t attend_map(const MapAttention& attention, cudaStream_t stream);

inline constexpr int kFewMapsSumPixels = 8;  ///< Of a part whose sums attend_few_maps() leaves.

/// What attend_few_maps() reads and writes, as MapAttention but for what is said here.
struct FewMapsAttention {
  int images = 0;
  int pixels = 0;  ///< Of a map: a multiple of 16, at most kMapPixels.
  const void* x = nullptr;
  ConvNorm norm;                       ///< Of the sums of x; without scale and shift.
  const void* score_weight = nullptr;  ///< [kMapChannels, kMapChannels], as out_weight.
  const void* score_bias = nullptr;
  const void* out_weight = nullptr;
  const void* out_bias = nullptr;
  void* out = nullptr;
  float* sums = nullptr;  ///< [images, pixels / kFewMapsSumPixels, kMapChannels, 2]
};

/// Whether attend_few_maps() takes maps of so many pixels with a norm of so many groups.
bool attends_few_maps(int pixels, int groups);

/// attend_map() for a few images, of smaller maps as well: eight pixels a block, which reads the
/// map as it is. What the norm does to a key or value is the same for all of them, so that it is
/// done once, to a query's products:
///
///     softmax(q (a x + b)^T) (a x + b) = (p x) a + b,  p = softmax((q a) x^T)
cudaError_t attend_few_maps(const FewMapsAttention& attention, cudaStream_t stream);

/// The backward pass of attend_map() as far as it goes image row by image row. All bf16; with the
/// strides of MapAttentionSaved. The weights are packed turned.
struct MapAttentionGradients {
  int images = 0;
  const void* d_out = nullptr;          ///< [images, kMapPixels, kMapChannels]
  const void* normed = nullptr;         ///< Of MapAttentionSaved.
  const void* probabilities = nullptr;  ///< The same.
  const void* score_weight = nullptr;   ///< By pack_conv2d_tiles(), turned; as out_weight.
  const void* out_weight = nullptr;
  void* d_attended = nullptr;  ///< [images, 2, kMapPixels, kMapChannels]: d_out out_weight.
  void* d_scores = nullptr;    ///< [images, 2, kMapPixels, kMapPixels]
  void* d_queries = nullptr;   ///< [images, kMapPixels, kMapChannels]: d_scores n.
  void* d_normed = nullptr;  ///< The same, d_queries score_weight: n's gradient but for what it is
                             ///< as key and value, d_scores^T queries + probabilities^T d_attended.
};

cudaError_t attend_map_backward(const MapAttentionGradients& gradients, cudaStream_t stream);

}  // namespace ddpm::cuda
