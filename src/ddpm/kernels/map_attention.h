#pragma once

#include <vector>

#include "ddpm/core/tensor.h"
#include "ddpm/kernels/weight_state.h"

namespace ddpm {

struct GroupNormSiluArgs;

/// The linear layers of attention with one head of as many channels as the map.
struct AttentionWeights {
  Tensor q, k, v, out;                      ///< [C, C]
  Tensor q_bias, k_bias, v_bias, out_bias;  ///< [C]

  std::vector<Tensor> all() const { return {q, k, v, out, q_bias, k_bias, v_bias, out_bias}; }
};

/// The same in two products less. Where a head is as wide as the map n, queries and keys meet in
/// nothing but the product of their weights, and values and what they are projected by likewise:
///
///     q_i k_j^T = (n_i W_q^T + b_q) W_k n_j^T + what is the same for all j, and cancels in softmax
///     (p v) W_out^T + b_out = (p n) (W_out W_v)^T + W_out b_v + b_out,  as each row of p adds to 1
struct FoldedAttention {
  Tensor score_weight;            ///< [C, C] W_k^T W_q
  Tensor score_bias;              ///< [C] W_k^T b_q
  Tensor out_weight;              ///< [C, C] W_out W_v
  Tensor out_bias;                ///< [C] W_out b_v + b_out
  Tensor score_tiles, out_tiles;  ///< As a GPU's kernel reads them, if they were packed.
  WeightState state;              ///< Of AttentionWeights::all().
  bool of_leaves = false;         ///< What they were folded from are all leaves of autograd.
};

/// Differentiable with respect to every weight; the gradient of k_bias is zero.
///
/// @param ahead by pack_attention() of the same weights, which is then not done again; null: none.
FoldedAttention fold_attention(const AttentionWeights& weights,
                               const FoldedAttention* ahead = nullptr);

/// The same without gradients, once for many calls: packed for the GPU's kernel.
FoldedAttention pack_attention(const AttentionWeights& weights);
/// Of several layers, on a GPU in as few launches as can be.
std::vector<FoldedAttention> pack_attentions(const std::vector<AttentionWeights>& layers);

/// What map_attention computes.
struct MapAttentionArgs {
  Tensor x;                       ///< [N, C, H, W] channels_last.
  const GroupNormSiluArgs* norm;  ///< Without SiLU; its x is not looked at.
  const FoldedAttention* weights;
};

/// Whether there is a kernel for it: on Hopper's GPUs, in bf16, for maps of 256 channels: of 16x16
/// pixels; for a few images without gradients of any multiple of 16 up to 256.
bool has_map_attention(const Tensor& x, const GroupNormSiluArgs& norm);

/// Attention of a map's pixels to each other with the norm before it, in one pass over the map:
///
///     y = x + out(softmax(q k^T / sqrt(C)) v),  q, k, v of n = group_norm(x)
///
/// Differentiable with respect to x, the norm's weight and bias, and the folded weights.
///
/// @param args for which has_map_attention().
/// @return     like x.
Tensor map_attention(const MapAttentionArgs& args);

}  // namespace ddpm
