#pragma once

#include <cstdint>

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/map_attention.h"
#include "ddpm/model/gradient_checkpoint.h"
#include "ddpm/model/layers.h"

namespace ddpm {

struct Conv2dArgs;

struct AttentionOptions {
  int64_t head_channels = 0;    ///< channels of a head; 0: one head of all channels.
  int64_t num_heads = 0;        ///< divides the channels; 0: by head_channels.
  int64_t norm_num_groups = 0;  ///< 0: no norm before.
  double norm_eps = 1e-5;
  double output_scale_factor = 1.0;  ///< divides the residual sum.
  WeightInit weight_init = WeightInit::kPyTorch;
};

/// Self-attention over the pixels of a map:
///
///     y = (x + to_out(attention(to_q(n), to_k(n), to_v(n)))) / output_scale_factor,  n = norm(x)
///
/// with num_heads, or channels / head_channels, heads, and scores scaled by the root of their
/// width. Names: group_norm, to_q, to_k, to_v, to_out.0.
class AttentionImpl : public torch::nn::Module, public PreparableModule, public CheckpointedModule {
 public:
  AttentionImpl(int64_t channels, const AttentionOptions& options);
  /// @param x [N, channels, H, W] channels_last. @return like x.
  Tensor forward(const Tensor& x);
  void prepare_for_sampling() override;
  /// Before a pass with gradients: does what forward() makes of the layers' weights alone, of those
  /// that did so in the pass before. Between other layers a GPU would wait for it.
  static void prepare_for_pass(const std::vector<AttentionImpl*>& layers);

 private:
  Tensor run(const Tensor& x);
  AttentionWeights weights() const;
  /// Of the weights, by whatever was prepared.
  FoldedAttention fold();
  /// One head of as many channels as the map, and nothing behind the residual sum.
  bool is_one_wide_head() const;
  /// run() where queries, keys and values are one pass with the norm before them.
  Tensor run_in_few_passes(const Conv2dArgs& projection);
  /// Whether packed_qkv_ and qkv_bias_ are of use.
  bool has_packed_weights() const;
  /// Queries, keys and values of a sequence [N, pixels, channels], side by side.
  Tensor project(const Tensor& sequence);

  AttentionOptions options_;
  int64_t num_heads_;
  GroupNorm group_norm_{nullptr};
  Linear to_q_{nullptr}, to_k_{nullptr}, to_v_{nullptr}, to_out_{nullptr};
  PackedWeight packed_qkv_;
  Tensor qkv_bias_;             ///< of packed_qkv_.
  FoldedAttention folded_;      ///< of one head on a GPU.
  FoldedAttention ahead_;       ///< The same, of this pass.
  bool folds_in_pass_ = false;  ///< Whether the last pass with gradients folded them.
};
TORCH_MODULE(Attention);

}  // namespace ddpm
