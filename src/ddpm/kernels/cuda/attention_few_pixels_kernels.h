#pragma once

#include <cuda_runtime_api.h>

namespace ddpm::cuda {

/// Attention of sequences [images, length, 3, heads, channels] of bf16: queries, keys and values.
struct AttentionShape {
  int images = 0;
  int length = 0;
  int heads = 0;
  int channels = 0;  ///< Of a head.
};

/// Whether attend_few_pixels() takes them: channels 64, 128, 192 or 256, a length that is a
/// multiple of 16 and at most 512, so few queries that they do not fill a device with clusters.
bool attention_has_few_pixels(const AttentionShape& shape);

/// y [images, length, heads, channels] = softmax(q k^T / sqrt(channels)) v of each head: blocks of
/// a cluster take 64 keys each, and add up what they make of them.
cudaError_t attend_few_pixels(const AttentionShape& shape, const void* qkv, void* y,
                              cudaStream_t stream);

}  // namespace ddpm::cuda
