#include "ddpm/kernels/map_attention.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <stdexcept>

#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/conv2d_tiles.h"
#include "ddpm/kernels/cuda/map_attention_function.h"
#endif

namespace ddpm {
namespace {

#ifdef DDPM_CUDA
Tensor tiles_of_linear(const Tensor& weight) {
  return cuda::warpgroup_tiles(weight.unsqueeze(2).unsqueeze(3));
}
#endif

}  // namespace

FoldedAttention fold_attention(const AttentionWeights& weights) {
  const at::NoGradGuard no_grad;
  const auto dtype = weights.q.scalar_type();
  const auto wide = [](const Tensor& tensor) { return tensor.to(at::kFloat); };
  const Tensor q = wide(weights.q), k = wide(weights.k), v = wide(weights.v);
  const Tensor out = wide(weights.out);
  FoldedAttention folded{
      .score_weight = k.t().mm(q).to(dtype),
      .score_bias = k.t().mv(wide(weights.q_bias)).to(dtype),
      .out_weight = out.mm(v).to(dtype),
      .out_bias = (out.mv(wide(weights.v_bias)) + wide(weights.out_bias)).to(dtype),
      .score_tiles = {},
      .out_tiles = {},
      .state = WeightState(weights.all())};
#ifdef DDPM_CUDA
  folded.score_tiles = tiles_of_linear(folded.score_weight);
  folded.out_tiles = tiles_of_linear(folded.out_weight);
#endif
  return folded;
}

bool has_map_attention(const MapAttentionArgs& args) {
#ifdef DDPM_CUDA
  return !at::GradMode::is_enabled() && cuda::takes_map_attention(args);
#else
  static_cast<void>(args);
  return false;
#endif
}

Tensor map_attention(const MapAttentionArgs& args) {
#ifdef DDPM_CUDA
  return cuda::run_map_attention(args);
#else
  static_cast<void>(args);
  throw std::logic_error("[map_attention] there is no kernel: expected has_map_attention()");
#endif
}

}  // namespace ddpm
