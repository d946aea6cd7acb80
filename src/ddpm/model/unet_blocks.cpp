#include "ddpm/model/unet_blocks.h"

#include <ATen/ATen.h>

#include <stdexcept>
#include <string>
#include <utility>

namespace ddpm {
namespace {

std::vector<Attention> add_attentions(torch::nn::Module& parent, int64_t channels, int64_t count,
                                      const AttentionOptions& options) {
  std::vector<Attention> attentions;
  if (count == 0) return attentions;
  const auto list = add_list(parent, "attentions");
  for (int64_t i = 0; i < count; ++i) {
    attentions.push_back(list->register_module(std::to_string(i), Attention(channels, options)));
  }
  return attentions;
}

/// One res block for each entry of `in_channels`.
std::vector<ResnetBlock> add_resnets(torch::nn::Module& parent,
                                     const std::vector<int64_t>& in_channels, int64_t out_channels,
                                     const ResnetOptions& options) {
  std::vector<ResnetBlock> resnets;
  const auto list = add_list(parent, "resnets");
  for (const int64_t channels : in_channels) {
    resnets.push_back(list->register_module(std::to_string(resnets.size()),
                                            ResnetBlock(channels, out_channels, options)));
  }
  return resnets;
}

/// With the one that resamples, if there is one.
std::vector<ResnetBlock> with_last(std::vector<ResnetBlock> blocks, const ResnetBlock& last) {
  if (last) blocks.push_back(last);
  return blocks;
}

/// The way up reads what a skip's first reader gave back.
Tensor result_of(const MapFork& fork, std::vector<Tensor>& skips) {
  if (!skips.empty()) skips.back() = fork.x;
  return fork.y;
}

}  // namespace

DownBlockImpl::DownBlockImpl(int64_t in_channels, int64_t out_channels, const LevelOptions& options)
    : resampling_(options.resampling) {
  std::vector<int64_t> inputs(static_cast<size_t>(options.num_layers), out_channels);
  inputs.front() = in_channels;
  attentions_ = add_attentions(*this, out_channels, options.attention ? options.num_layers : 0,
                               options.attention_options);
  resnets_ = add_resnets(*this, inputs, out_channels, options.resnet);
  switch (resampling_) {
    case LevelResampling::kNone:
    case LevelResampling::kPlain:
      break;
    case LevelResampling::kConv:
      conv_downsampler_ =
          add_list(*this, "downsamplers")
              ->register_module("0", Downsample(out_channels, options.downsample_padding,
                                                options.resnet.weight_init));
      break;
    case LevelResampling::kResnet:
      resnet_downsampler_ =
          add_list(*this, "downsamplers")
              ->register_module(
                  "0", ResnetBlock(out_channels, out_channels, options.resnet, Resampling::kDown));
      break;
  }
}

std::vector<ResnetBlock> DownBlockImpl::res_blocks() const {
  return with_last(resnets_, resnet_downsampler_);
}

Tensor DownBlockImpl::forward(const Tensor& x, TimeRows& time, std::vector<Tensor>& skips) {
  Tensor h = x;
  for (size_t i = 0; i < resnets_.size(); ++i) {
    h = result_of(resnets_[i]->forward_fork(h, time.next()), skips);
    if (!attentions_.empty()) h = attentions_[i]->forward(h);
    skips.push_back(h);
  }
  switch (resampling_) {
    case LevelResampling::kNone:
      return h;
    case LevelResampling::kPlain:
      h = downsample_mean(h);
      break;
    case LevelResampling::kConv:
      h = result_of(conv_downsampler_->forward_fork(h), skips);
      break;
    case LevelResampling::kResnet:
      h = result_of(resnet_downsampler_->forward_fork(h, time.next()), skips);
      break;
  }
  skips.push_back(h);
  return h;
}

UpBlockImpl::UpBlockImpl(const UpChannels& channels, const LevelOptions& options)
    : resampling_(options.resampling) {
  std::vector<int64_t> inputs(static_cast<size_t>(options.num_layers), channels.out);
  inputs.front() = channels.below;
  for (size_t i = 0; i < inputs.size(); ++i) {
    inputs[i] += i + 1 == inputs.size() ? channels.skip : channels.out;
  }
  const int64_t num_attentions = options.attention_last_up_only ? 1 : options.num_layers;
  attentions_ = add_attentions(*this, channels.out, options.attention ? num_attentions : 0,
                               options.attention_options);
  resnets_ = add_resnets(*this, inputs, channels.out, options.resnet);
  switch (resampling_) {
    case LevelResampling::kNone:
    case LevelResampling::kPlain:
      break;
    case LevelResampling::kConv:
      conv_upsampler_ =
          add_list(*this, "upsamplers")
              ->register_module("0", Upsample(channels.out, options.resnet.weight_init));
      break;
    case LevelResampling::kResnet:
      resnet_upsampler_ = add_list(*this, "upsamplers")
                              ->register_module("0", ResnetBlock(channels.out, channels.out,
                                                                 options.resnet, Resampling::kUp));
      break;
  }
}

std::vector<ResnetBlock> UpBlockImpl::res_blocks() const {
  return with_last(resnets_, resnet_upsampler_);
}

Tensor UpBlockImpl::forward(const Tensor& x, TimeRows& time, std::vector<Tensor>& skips) {
  const size_t first_attention = resnets_.size() - attentions_.size();
  Tensor h = x;
  for (size_t i = 0; i < resnets_.size(); ++i) {
    const Tensor skip = std::move(skips.back());
    skips.pop_back();
    h = resnets_[i]->forward(h, time.next(), skip);
    if (i >= first_attention) h = attentions_[i - first_attention]->forward(h);
  }
  switch (resampling_) {
    case LevelResampling::kNone:
      return h;
    case LevelResampling::kPlain:
      return upsample_nearest(h);
    case LevelResampling::kConv:
      return conv_upsampler_->forward(h);
    case LevelResampling::kResnet:
      return resnet_upsampler_->forward(h, time.next());
  }
  throw std::logic_error("[UpBlock] not a LevelResampling");
}

MidBlockImpl::MidBlockImpl(int64_t channels, bool attention, const ResnetOptions& resnet,
                           const AttentionOptions& attention_options) {
  if (attention) {
    attention_ =
        add_list(*this, "attentions")->register_module("0", Attention(channels, attention_options));
  }
  const auto list = add_list(*this, "resnets");
  first_ = list->register_module("0", ResnetBlock(channels, channels, resnet));
  second_ = list->register_module("1", ResnetBlock(channels, channels, resnet));
}

Tensor MidBlockImpl::forward(const Tensor& x, TimeRows& time, std::vector<Tensor>& skips) {
  Tensor h = result_of(first_->forward_fork(x, time.next()), skips);
  if (attention_) h = attention_->forward(h);
  return second_->forward(h, time.next());
}

}  // namespace ddpm
