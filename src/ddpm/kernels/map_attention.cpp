#include "ddpm/kernels/map_attention.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <stdexcept>

#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/conv2d_tiles.h"
#include "ddpm/kernels/cuda/map_attention_function.h"
#include "ddpm/kernels/cuda/map_attention_training.h"
#endif

namespace ddpm {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// In one node, so that each gradient is written once.
class FoldWeights : public torch::autograd::Function<FoldWeights> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& q, const Tensor& k,
                               const Tensor& v, const Tensor& out, const Tensor& q_bias,
                               const Tensor& k_bias, const Tensor& v_bias, const Tensor& out_bias) {
    ctx->save_for_backward({q, k, v, out, q_bias, k_bias, v_bias});
    return {k.t().mm(q), k.t().mv(q_bias), out.mm(v), at::addmv(out_bias, out, v_bias)};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_folded) {
    enum FoldInput { kQ, kK, kV, kOut, kQBias, kKBias, kVBias };
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &d_score_weight = d_folded[0], &d_score_bias = d_folded[1];
    const Tensor &d_out_weight = d_folded[2], &d_out_bias = d_folded[3];
    return {saved[kK].mm(d_score_weight),
            at::addr(saved[kQ].mm(d_score_weight.t()), saved[kQBias], d_score_bias),
            saved[kOut].t().mm(d_out_weight),
            at::addr(d_out_weight.mm(saved[kV].t()), d_out_bias, saved[kVBias]),
            saved[kK].mv(d_score_bias),
            at::zeros_like(saved[kKBias]),
            saved[kOut].t().mv(d_out_bias),
            d_out_bias};
  }
};

#ifdef DDPM_CUDA
Tensor tiles_of_linear(const Tensor& weight) {
  return cuda::warpgroup_tiles(weight.unsqueeze(2).unsqueeze(3));
}
#endif

}  // namespace

FoldedAttention fold_attention(const AttentionWeights& weights) {
  const variable_list folded =
      FoldWeights::apply(weights.q, weights.k, weights.v, weights.out, weights.q_bias,
                         weights.k_bias, weights.v_bias, weights.out_bias);
  return {.score_weight = folded[0],
          .score_bias = folded[1],
          .out_weight = folded[2],
          .out_bias = folded[3],
          .score_tiles = {},
          .out_tiles = {},
          .state = {}};
}

FoldedAttention pack_attention(const AttentionWeights& weights) {
  const at::NoGradGuard no_grad;
  FoldedAttention folded = fold_attention(weights);
  folded.state = WeightState(weights.all());
#ifdef DDPM_CUDA
  folded.score_tiles = tiles_of_linear(folded.score_weight);
  folded.out_tiles = tiles_of_linear(folded.out_weight);
#endif
  return folded;
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
