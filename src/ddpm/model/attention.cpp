#include "ddpm/model/attention.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"
#include "ddpm/kernels/group_norm_silu.h"

namespace ddpm {

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

Tensor AttentionImpl::forward(const Tensor& x) {
  const int64_t images = x.size(0);
  const int64_t pixels = x.size(2) * x.size(3);
  Tensor normed = x;
  if (group_norm_) {
    GroupNormSiluArgs args = group_norm_->args(x);
    args.silu = false;
    normed = group_norm_silu(args);
  }
  // A channels_last map is a sequence of pixels already.
  const Tensor sequence = normed.permute({0, 2, 3, 1}).reshape({images, pixels, x.size(1)});
  const auto heads_of = [&](Linear& project) {
    return project->forward(sequence).view({images, pixels, num_heads_, -1}).transpose(1, 2);
  };
  const Tensor attended =
      at::scaled_dot_product_attention(heads_of(to_q_), heads_of(to_k_), heads_of(to_v_));
  const Tensor merged = attended.transpose(1, 2).reshape({images, pixels, -1});
  const Tensor update = to_out_->forward(merged)
                            .view({images, x.size(2), x.size(3), x.size(1)})
                            .permute({0, 3, 1, 2});
  const Tensor sum = x + update;
  return options_.output_scale_factor == 1.0 ? sum : sum / options_.output_scale_factor;
}

}  // namespace ddpm
