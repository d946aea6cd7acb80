#pragma once

#include <vector>

#include "ddpm/kernels/map_attention.h"

namespace ddpm::cuda {

/// Whether one kernel folds such weights: square ones of bf16 on a GPU, of whole tiles.
bool folds_attention_at_once(const AttentionWeights& weights);

/// score_weight, score_bias, out_weight and out_bias of FoldedAttention, of each of some layers of
/// one size; not of none.
std::vector<std::vector<Tensor>> fold_attentions_at_once(
    const std::vector<AttentionWeights>& layers);

/// From their gradients those of the weights, in the order of AttentionWeights::all(); that of
/// k_bias is zero.
std::vector<Tensor> unfold_gradients_at_once(const AttentionWeights& weights,
                                             const std::vector<Tensor>& d_folded);

}  // namespace ddpm::cuda
