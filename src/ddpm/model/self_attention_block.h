#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"
#include "ddpm/model/layers.h"

namespace ddpm {

/// Layer norm over the last dimension, eps 1e-5.
class LayerNormImpl : public LayerImpl {
 public:
  explicit LayerNormImpl(int64_t num_features);
  Tensor forward(const Tensor& x);
  void initialize(uint64_t seed, uint64_t first_tensor) override;

 private:
  Tensor weight_, bias_;
};
TORCH_MODULE(LayerNorm);

/// Self-attention with one head, its tensors named and drawn as in PyTorch's MultiheadAttention:
/// in_proj_weight, in_proj_bias (query, key and value in one), out_proj.
///
///     y = out_proj(softmax(q k^T / sqrt(C)) v)                        [Transformer, Eq. 1]
class MultiheadAttentionImpl : public LayerImpl {
 public:
  explicit MultiheadAttentionImpl(int64_t channels);
  /// @param sequence [N, L, C] @return like it.
  Tensor forward(const Tensor& sequence);
  void initialize(uint64_t seed, uint64_t first_tensor) override;

 private:
  Tensor in_proj_weight_, in_proj_bias_;
  Linear out_proj_{nullptr};
};
TORCH_MODULE(MultiheadAttention);

/// The talk's self-attention: a Transformer's block with its norms first, over a map's pixels.
///
///     h = x + dropout(attn(norm(x)));  y = h + dropout(ffn.2(gelu(ffn.0(norm2(h)))))
///
/// ffn is 4 times as wide inside; GELU is the exact one. Names: norm, attn, ffn.0, ffn.2, norm2.
class SelfAttentionBlockImpl : public torch::nn::Module {
 public:
  SelfAttentionBlockImpl(int64_t channels, double dropout);
  /// @param x [N, channels, H, W], channels_last avoids a copy. @return like x, channels_last.
  Tensor forward(const Tensor& x);

 private:
  double dropout_;
  LayerNorm norm_{nullptr}, norm2_{nullptr};
  MultiheadAttention attn_{nullptr};
  Linear widen_{nullptr}, narrow_{nullptr};
};
TORCH_MODULE(SelfAttentionBlock);

}  // namespace ddpm
