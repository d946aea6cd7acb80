#include "ddpm/model/attention.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <memory>
#include <utility>
#include <vector>

#include "ddpm/kernels/attention.h"
#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/linear.h"
#include "ddpm/kernels/map_rows.h"

namespace ddpm {
namespace {

/// A channels_last map is a sequence of pixels already.
Tensor sequence_of(const Tensor& map) {
  return map.permute({0, 2, 3, 1}).reshape({map.size(0), map.size(2) * map.size(3), map.size(1)});
}

}  // namespace

AttentionImpl::AttentionImpl(int64_t channels, const AttentionOptions& options)
    : options_(options) {
  int64_t head_channels = options.head_channels == 0 ? channels : options.head_channels;
  if (options.num_heads > 0) head_channels = channels / options.num_heads;
  num_heads_ = channels / head_channels;
  const int64_t inner_channels = num_heads_ * head_channels;
  if (options.norm_num_groups > 0) {
    group_norm_ = register_module("group_norm",
                                  GroupNorm(options.norm_num_groups, channels, options.norm_eps));
  }
  const LinearImpl::Options inner{.init = attention_init(options.weight_init)};
  to_q_ = register_module("to_q", Linear(channels, inner_channels, inner));
  to_k_ = register_module("to_k", Linear(channels, inner_channels, inner));
  to_v_ = register_module("to_v", Linear(channels, inner_channels, inner));
  to_out_ = add_list(*this, "to_out")
                ->register_module(
                    "0", Linear(inner_channels, channels,
                                LinearImpl::Options{.init = last_init(options.weight_init)}));
}

void AttentionImpl::prepare_for_sampling() {
  packed_qkv_ = PackedWeight::of_linear({to_q_->weight(), to_k_->weight(), to_v_->weight()});
  qkv_bias_ = at::cat({to_q_->bias(), to_k_->bias(), to_v_->bias()}).detach();
  if (to_q_->weight().is_cuda() && is_one_wide_head()) {
    folded_ = pack_attention(weights());
  }
}

void AttentionImpl::prepare_for_pass(const std::vector<AttentionImpl*>& layers) {
  std::vector<AttentionImpl*> folding;
  std::vector<AttentionWeights> weights;
  for (AttentionImpl* const layer : layers) {
    layer->ahead_ = {};
    if (!std::exchange(layer->folds_in_pass_, false)) continue;
    folding.push_back(layer);
    weights.push_back(layer->weights());
  }
  std::vector<FoldedAttention> folded = pack_attentions(weights);
  for (size_t i = 0; i < folding.size(); ++i) folding[i]->ahead_ = std::move(folded[i]);
}

FoldedAttention AttentionImpl::fold() {
  if (!at::GradMode::is_enabled()) {
    return folded_.state.is_of(weights().all()) ? folded_ : fold_attention(weights());
  }
  folds_in_pass_ = true;
  const FoldedAttention ahead = std::exchange(ahead_, {});
  const bool is_ahead = ahead.state.is_of(weights().all());
  return fold_attention(weights(), is_ahead ? &ahead : nullptr);
}

AttentionWeights AttentionImpl::weights() const {
  return {.q = to_q_->weight(),
          .k = to_k_->weight(),
          .v = to_v_->weight(),
          .out = to_out_->weight(),
          .q_bias = to_q_->bias(),
          .k_bias = to_k_->bias(),
          .v_bias = to_v_->bias(),
          .out_bias = to_out_->bias()};
}

bool AttentionImpl::has_packed_weights() const {
  return !at::GradMode::is_enabled() &&
         packed_qkv_.is_of({to_q_->weight(), to_k_->weight(), to_v_->weight()});
}

Tensor AttentionImpl::project(const Tensor& sequence) {
  if (has_packed_weights()) {
    return packed_linear(sequence, packed_qkv_, qkv_bias_, /*residual=*/{});
  }
  return linear({.x = sequence,
                 .weight = at::cat({to_q_->weight(), to_k_->weight(), to_v_->weight()}),
                 .bias = at::cat({to_q_->bias(), to_k_->bias(), to_v_->bias()})});
}

Tensor AttentionImpl::forward(const Tensor& x) {
  if (!checkpoints(*this)) return run(x);
  const auto self = std::static_pointer_cast<AttentionImpl>(shared_from_this());
  return gradient_checkpoint(
      [self](const std::vector<Tensor>& again) { return self->run(again[0]); }, {x},
      /*draws=*/false);
}

Tensor AttentionImpl::run_in_few_passes(const Conv2dArgs& projection) {
  const Tensor& x = projection.x;
  const Tensor attended = attention(sequence_of(conv2d(projection)), num_heads_);
  return conv2d({.x = map_of(attended, x),
                 .weight = pixel_weight(to_out_->weight()),
                 .bias = to_out_->bias(),
                 .residual = x});
}

bool AttentionImpl::is_one_wide_head() const {
  const Tensor& q = to_q_->weight();
  return num_heads_ == 1 && q.size(0) == q.size(1) && options_.output_scale_factor == 1.0;
}

Tensor AttentionImpl::run(const Tensor& x) {
  GroupNormSiluArgs norm;
  if (group_norm_) {
    norm = group_norm_->args(x);
    norm.silu = false;
  }
  if (group_norm_ && is_one_wide_head() && has_map_attention(x, norm)) {
    const FoldedAttention folded = fold();
    return map_attention({.x = x, .norm = &norm, .weights = &folded});
  }
  if (group_norm_ && has_packed_weights() && packed_qkv_.joined().defined() &&
      options_.output_scale_factor == 1.0) {
    const Conv2dArgs projection{
        .x = x, .weight = pixel_weight(packed_qkv_.joined()), .bias = qkv_bias_, .norm = &norm};
    if (conv2d_is_one_pass(projection)) return run_in_few_passes(projection);
  }
  GroupNormFork fork{.y = x, .x = x, .x_rest = {}};
  if (group_norm_) fork = group_norm_silu_fork(norm);
  const Tensor attended = attention(project(sequence_of(fork.y)), num_heads_);
  const Tensor sum = map_of(to_out_->forward(attended, sequence_of(fork.x)), x);
  return options_.output_scale_factor == 1.0 ? sum : sum / options_.output_scale_factor;
}

}  // namespace ddpm
