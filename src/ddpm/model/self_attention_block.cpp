#include "ddpm/model/self_attention_block.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <vector>

namespace ddpm {
namespace {

constexpr double kLayerNormEps = 1e-5;
constexpr int64_t kWidening = 4;

}  // namespace

LayerNormImpl::LayerNormImpl(int64_t num_features) {
  weight_ = register_parameter("weight", at::zeros({num_features}));
  bias_ = register_parameter("bias", at::zeros({num_features}));
}

Tensor LayerNormImpl::forward(const Tensor& x) {
  return at::layer_norm(x, weight_.sizes(), weight_, bias_, kLayerNormEps);
}

void LayerNormImpl::initialize(uint64_t /*seed*/, uint64_t /*first_tensor*/) {
  const at::NoGradGuard no_grad;
  weight_.fill_(1.0);
  bias_.fill_(0.0);
}

MultiheadAttentionImpl::MultiheadAttentionImpl(int64_t channels) {
  in_proj_weight_ = register_parameter("in_proj_weight", at::zeros({3 * channels, channels}));
  in_proj_bias_ = register_parameter("in_proj_bias", at::zeros({3 * channels}));
  const LinearImpl::Options zero_bias{.init = {.zero_bias = true}};
  out_proj_ = register_module("out_proj", Linear(channels, channels, zero_bias));
}

Tensor MultiheadAttentionImpl::forward(const Tensor& sequence) {
  const std::vector<Tensor> parts =
      at::linear(sequence, in_proj_weight_, in_proj_bias_).unsqueeze(1).chunk(3, /*dim=*/-1);
  return out_proj_->forward(
      at::scaled_dot_product_attention(parts[0], parts[1], parts[2]).squeeze(1));
}

void MultiheadAttentionImpl::initialize(uint64_t seed, uint64_t first_tensor) {
  draw({.xavier = true}, in_proj_weight_, in_proj_bias_, seed, first_tensor);
}

SelfAttentionBlockImpl::SelfAttentionBlockImpl(int64_t channels, double dropout)
    : dropout_(dropout) {
  norm_ = register_module("norm", LayerNorm(channels));
  attn_ = register_module("attn", MultiheadAttention(channels));
  const auto ffn = add_list(*this, "ffn");
  widen_ = ffn->register_module("0", Linear(channels, kWidening * channels));
  narrow_ = ffn->register_module("2", Linear(kWidening * channels, channels));
  norm2_ = register_module("norm2", LayerNorm(channels));
}

Tensor SelfAttentionBlockImpl::forward(const Tensor& x) {
  // A channels_last map is a sequence of pixels already.
  const Tensor sequence =
      x.permute({0, 2, 3, 1}).reshape({x.size(0), x.size(2) * x.size(3), x.size(1)});
  const auto drop = [&](const Tensor& branch) {
    return at::dropout(branch, dropout_, is_training());
  };
  const Tensor h = sequence + drop(attn_->forward(norm_->forward(sequence)));
  const Tensor y = h + drop(narrow_->forward(at::gelu(widen_->forward(norm2_->forward(h)))));
  return y.reshape({x.size(0), x.size(2), x.size(3), x.size(1)}).permute({0, 3, 1, 2});
}

}  // namespace ddpm
