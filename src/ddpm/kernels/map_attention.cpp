#include "ddpm/kernels/map_attention.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <stdexcept>

#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/conv2d_tiles.h"
#include "ddpm/kernels/cuda/fold_attention.h"
#include "ddpm/kernels/cuda/map_attention_function.h"
#include "ddpm/kernels/cuda/map_attention_training.h"
#include "ddpm/kernels/cuda/side_stream.h"
#include "ddpm/kernels/map_rows.h"
#endif

namespace ddpm {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

bool are_leaves(const AttentionWeights& w) {
  const variable_list all = w.all();
  return std::all_of(all.begin(), all.end(), [](const Tensor& weight) { return weight.is_leaf(); });
}

variable_list fold(const AttentionWeights& w) {
#ifdef DDPM_CUDA
  if (cuda::folds_attention_at_once(w)) return cuda::fold_attentions_at_once({w}).front();
#endif
  const Tensor to_channels = w.k.t();
  return {to_channels.mm(w.q), to_channels.mv(w.q_bias), w.out.mm(w.v),
          at::addmv(w.out_bias, w.out, w.v_bias)};
}

/// Each layer's, in the order of FoldedAttention.
std::vector<variable_list> fold_all(const std::vector<AttentionWeights>& layers) {
#ifdef DDPM_CUDA
  const auto is_at_once = [&](const AttentionWeights& layer) {
    return cuda::folds_attention_at_once(layer) && layer.q.sizes() == layers.front().q.sizes() &&
           layer.q.device() == layers.front().q.device();
  };
  if (!layers.empty() && std::all_of(layers.begin(), layers.end(), is_at_once)) {
    return cuda::fold_attentions_at_once(layers);
  }
#endif
  std::vector<variable_list> folded;
  folded.reserve(layers.size());
  for (const AttentionWeights& layer : layers) folded.push_back(fold(layer));
  return folded;
}

#ifdef DDPM_CUDA
variable_list unfold_beside(const AttentionWeights& w, const variable_list& d_folded) {
  variable_list d_weights;
  cuda::run_beside(d_folded, [&] { d_weights = cuda::unfold_gradients_at_once(w, d_folded); });
  if (!are_leaves(w)) cuda::join_beside();
  return d_weights;
}
#endif

variable_list unfold_gradients(const AttentionWeights& w, const variable_list& d_folded) {
#ifdef DDPM_CUDA
  if (cuda::folds_attention_at_once(w)) return unfold_beside(w, d_folded);
  if (w.q.is_cuda()) cuda::join_beside();
#endif
  const Tensor &d_score_weight = d_folded[0], &d_score_bias = d_folded[1];
  const Tensor &d_out_weight = d_folded[2], &d_out_bias = d_folded[3];
  return {w.k.mm(d_score_weight),     at::addr(w.q.mm(d_score_weight.t()), w.q_bias, d_score_bias),
          w.out.t().mm(d_out_weight), at::addr(d_out_weight.mm(w.v.t()), d_out_bias, w.v_bias),
          w.k.mv(d_score_bias),       at::zeros_like(w.k_bias),
          w.out.t().mv(d_out_bias),   d_out_bias};
}

/// By the order of AttentionWeights::all().
AttentionWeights weights_of(const variable_list& all) {
  return {.q = all[0],
          .k = all[1],
          .v = all[2],
          .out = all[3],
          .q_bias = all[4],
          .k_bias = all[5],
          .v_bias = all[6],
          .out_bias = all[7]};
}

/// In one node, so that each gradient is written once.
class FoldWeights : public torch::autograd::Function<FoldWeights> {
 public:
  /// @param weights in the order of AttentionWeights::all().
  static variable_list forward(AutogradContext* ctx, const FoldedAttention* ahead,
                               at::TensorList weights) {
    const variable_list all = weights.vec();
    ctx->save_for_backward(all);
    if (ahead == nullptr) return fold(weights_of(all));
    return {ahead->score_weight.variable_data(), ahead->score_bias.variable_data(),
            ahead->out_weight.variable_data(), ahead->out_bias.variable_data()};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_folded) {
    variable_list d_inputs = unfold_gradients(weights_of(ctx->get_saved_variables()), d_folded);
    d_inputs.insert(d_inputs.begin(), Tensor());  // what was folded ahead has none
    return d_inputs;
  }
};

}  // namespace

FoldedAttention fold_attention(const AttentionWeights& weights, const FoldedAttention* ahead) {
  const variable_list folded = FoldWeights::apply(ahead, at::TensorList(weights.all()));
  return {.score_weight = folded[0],
          .score_bias = folded[1],
          .out_weight = folded[2],
          .out_bias = folded[3],
          .score_tiles = ahead == nullptr ? Tensor() : ahead->score_tiles,
          .out_tiles = ahead == nullptr ? Tensor() : ahead->out_tiles,
          .state = {},
          .of_leaves = are_leaves(weights)};
}

FoldedAttention pack_attention(const AttentionWeights& weights) {
  return pack_attentions({weights}).front();
}

std::vector<FoldedAttention> pack_attentions(const std::vector<AttentionWeights>& layers) {
  const at::NoGradGuard no_grad;
  const std::vector<variable_list> folded = fold_all(layers);
  std::vector<FoldedAttention> packed;
  for (size_t i = 0; i < layers.size(); ++i) {
    packed.push_back({.score_weight = folded[i][0],
                      .score_bias = folded[i][1],
                      .out_weight = folded[i][2],
                      .out_bias = folded[i][3],
                      .score_tiles = {},
                      .out_tiles = {},
                      .state = WeightState(layers[i].all()),
                      .of_leaves = are_leaves(layers[i])});
#ifdef DDPM_CUDA
    packed[i].score_tiles = cuda::warpgroup_tiles(pixel_weight(packed[i].score_weight));
    packed[i].out_tiles = cuda::warpgroup_tiles(pixel_weight(packed[i].out_weight));
#endif
  }
  return packed;
}

bool has_map_attention(const Tensor& x, const GroupNormSiluArgs& norm) {
#ifdef DDPM_CUDA
  return cuda::takes_map_attention(x, norm);
#else
  static_cast<void>(x), static_cast<void>(norm);
  return false;
#endif
}

Tensor map_attention(const MapAttentionArgs& args) {
#ifdef DDPM_CUDA
  return at::GradMode::is_enabled() ? cuda::trained_map_attention(args)
                                    : cuda::run_map_attention(args);
#else
  static_cast<void>(args);
  throw std::logic_error("[map_attention] there is no kernel: expected has_map_attention()");
#endif
}

}  // namespace ddpm
