#include "ddpm/model/unet2d.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>

#include <algorithm>
#include <string>

#include "ddpm/core/check.h"
#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/put_rows.h"
#include "ddpm/model/attention.h"
#include "ddpm/model/unet2d_options.h"

namespace ddpm {
UNet2DImpl::UNet2DImpl(const UNet2DConfig& config) : config_(config) {
  const int64_t first = config.block_out_channels.front();
  const int64_t wave_channels = time_embed_channels(config);
  const int64_t time_channels = kTimeChannelsPerChannel * wave_channels;
  const LayerInit init = plain_init(config.weight_init);
  conv_in_ = register_module("conv_in", Conv2d(config.in_channels, conv_in_channels(config),
                                               Conv2dImpl::Options{.init = init}));
  time_embedding_ = register_module("time_embedding",
                                    TimestepMlp(wave_channels, time_channels, config.weight_init));
  if (config.augment_dim > 0) {
    augment_embedding_ = register_module("augment_embedding",
                                         Linear(config.augment_dim, wave_channels,
                                                LinearImpl::Options{.bias = false, .init = init}));
  }
  switch (config.class_embed_type) {
    case ClassEmbedType::kNone:
      if (config.num_class_embeds > 0) {
        class_embedding_ =
            register_module("class_embedding", Embedding(config.num_class_embeds, time_channels));
      }
      break;
    case ClassEmbedType::kTimestep:
      class_timestep_embedding_ = register_module(
          "class_embedding", TimestepMlp(wave_channels, time_channels, config.weight_init));
      break;
    case ClassEmbedType::kIdentity:
      break;
  }
  add_levels();
  mid_block_ = register_module("mid_block", make_mid_block(config));
  time_projections_.set(res_blocks());
  conv_norm_out_ =
      register_module("conv_norm_out", GroupNorm(config.norm_num_groups, first, config.norm_eps));
  conv_out_ = register_module("conv_out",
                              Conv2d(first, config.out_channels,
                                     Conv2dImpl::Options{.init = last_init(config.weight_init)}));
}

void UNet2DImpl::add_levels() {
  const std::vector<int64_t>& channels = config_.block_out_channels;
  const size_t num_levels = channels.size();
  const auto down_list = add_list(*this, "down_blocks");
  for (size_t i = 0; i < num_levels; ++i) {
    LevelOptions options = down_options(config_, config_.down_block_types[i]);
    options.resampling = level_resampling(config_, options.resampling, i + 1 == num_levels);
    const int64_t above = i == 0 ? conv_in_channels(config_) : channels[i - 1];
    down_blocks_.push_back(
        down_list->register_module(std::to_string(i), DownBlock(above, channels[i], options)));
  }
  const auto up_list = add_list(*this, "up_blocks");
  for (size_t i = 0; i < num_levels; ++i) {
    LevelOptions options = up_options(config_, config_.up_block_types[i]);
    options.resampling = level_resampling(config_, options.resampling, i + 1 == num_levels);
    const size_t level = num_levels - 1 - i;
    const UpChannels up_channels{
        .below = channels[std::min(level + 1, num_levels - 1)],
        .skip = level == 0 ? conv_in_channels(config_) : channels[level - 1],
        .out = channels[level]};
    up_blocks_.push_back(
        up_list->register_module(std::to_string(i), UpBlock(up_channels, options)));
  }
}

std::vector<ResnetBlock> UNet2DImpl::res_blocks() const {
  std::vector<ResnetBlock> blocks;
  const auto add = [&](const std::vector<ResnetBlock>& more) {
    blocks.insert(blocks.end(), more.begin(), more.end());
  };
  for (const DownBlock& block : down_blocks_) add(block->res_blocks());
  add(mid_block_->res_blocks());
  for (const UpBlock& block : up_blocks_) add(block->res_blocks());
  return blocks;
}

Tensor UNet2DImpl::embed_classes(const Tensor& class_labels, int64_t images, at::ScalarType dtype) {
  const bool identity = config_.class_embed_type == ClassEmbedType::kIdentity;
  check_arg(class_labels.defined(), "[UNet2D] class labels are missing: expected class_labels of ",
            images, " images, got none");
  check_arg(class_labels.dim() == (identity ? 2 : 1) && class_labels.size(0) == images,
            "[UNet2D] class_labels do not fit: expected ", identity ? "one embedding" : "one label",
            " for each of ", images, " images, got ", class_labels.sizes());
  if (identity) return class_labels.to(dtype);
  if (class_embedding_) return class_embedding_->forward(class_labels);
  return class_timestep_embedding_->forward(waves(class_labels, /*scale=*/1.0, dtype));
}

Tensor UNet2DImpl::embed_augmentation(const Tensor& augment_labels, int64_t images,
                                      at::ScalarType dtype) {
  check_arg(augment_embedding_ && augment_labels.dim() == 2 && augment_labels.size(0) == images &&
                augment_labels.size(1) == config_.augment_dim,
            "[UNet2D] augment_labels do not fit: expected [", images,
            ", augment_dim = ", config_.augment_dim, "], got ", augment_labels.sizes());
  return augment_embedding_->forward(augment_labels.to(dtype));
}

Tensor UNet2DImpl::waves(const Tensor& t, double scale, at::ScalarType dtype) const {
  return timestep_embedding(t, {.size = time_embed_channels(config_),
                                .flip_sin_to_cos = config_.flip_sin_to_cos,
                                .freq_shift = config_.freq_shift,
                                .scale = scale,
                                .rounded_to = dtype});
}

Tensor UNet2DImpl::embed(const Tensor& t, const NetworkLabels& labels, at::ScalarType dtype) {
  Tensor input = waves(t, config_.timestep_scale, dtype);
  if (labels.augment_labels.defined()) {
    input = input + embed_augmentation(labels.augment_labels, t.size(0), dtype);
  }
  Tensor e = time_embedding_->forward(input);
  if (class_embedding_ || config_.class_embed_type != ClassEmbedType::kNone) {
    e = e + embed_classes(labels.class_labels, t.size(0), dtype);
  } else {
    check_arg(!labels.class_labels.defined(),
              "[UNet2D] this network has no classes: expected no class_labels, got some");
  }
  return at::silu(e);
}

std::vector<Tensor> UNet2DImpl::time_parameters() const {
  std::vector<Tensor> all = time_embedding_->parameters();
  const std::vector<Tensor> projections = time_projections_.parameters();
  all.insert(all.end(), projections.begin(), projections.end());
  return all;
}

void UNet2DImpl::prepare_timesteps(int64_t num_timesteps) {
  const Tensor weight = time_embedding_->parameters().front();
  const bool has_labels =
      class_embedding_ || augment_embedding_ || config_.class_embed_type != ClassEmbedType::kNone;
  if (!weight.is_cuda() || has_labels) return;
  const at::NoGradGuard no_grad;
  const Tensor t = at::arange(num_timesteps, weight.options().dtype(at::kLong));
  time_table_ = time_projections_.rows_of(embed(t, /*labels=*/{}, weight.scalar_type()));
  time_state_ = WeightState(time_parameters());
}

TimeRows UNet2DImpl::time_rows(const Tensor& t, const NetworkLabels& labels, at::ScalarType dtype) {
  const bool is_prepared = !at::GradMode::is_enabled() && t.scalar_type() == at::kLong &&
                           time_table_.defined() && !labels.class_labels.defined() &&
                           !labels.augment_labels.defined() && time_state_.is_of(time_parameters());
  return is_prepared ? time_projections_.split(take_rows(time_table_, t))
                     : time_projections_(embed(t, labels, dtype));
}

void UNet2DImpl::prepare_for_pass() {
  std::vector<AttentionImpl*> layers;
  for (const auto& module : modules(/*include_self=*/false)) {
    if (auto* const attention = module->as<AttentionImpl>()) layers.push_back(attention);
  }
  AttentionImpl::prepare_for_pass(layers);
}

Tensor UNet2DImpl::forward(const Tensor& x, const Tensor& t, const NetworkLabels& labels) {
  check_network_input("UNet2D", x, t, config_.in_channels,
                      int64_t{1} << (config_.block_out_channels.size() - 1));
  if (at::GradMode::is_enabled()) prepare_for_pass();
  TimeRows time = time_rows(t, labels, x.scalar_type());
  const Tensor input = config_.center_input_sample ? 2 * x - 1 : x;
  Tensor h = conv_in_->forward(input.contiguous(at::MemoryFormat::ChannelsLast));
  std::vector<Tensor> skips{h};
  for (DownBlock& block : down_blocks_) h = block->forward(h, time, skips);
  h = mid_block_->forward(h, time, skips);
  for (UpBlock& block : up_blocks_) h = block->forward(h, time, skips);
  const GroupNormSiluArgs norm = conv_norm_out_->args(h);
  Conv2dArgs last = conv_out_->args_without_bias(h);
  last.norm = &norm;
  last.bias = conv_out_->bias();
  return conv2d(last);
}

}  // namespace ddpm
