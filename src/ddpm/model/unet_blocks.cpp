#include "ddpm/model/unet_blocks.h"

#include <ATen/ATen.h>

#include <string>
#include <utility>

namespace ddpm {
namespace {

std::vector<Attention> add_attentions(torch::nn::Module& parent, int64_t channels,
                                      const LevelOptions& options) {
  std::vector<Attention> attentions;
  if (!options.attention) return attentions;
  const auto list = add_list(parent, "attentions");
  for (int64_t i = 0; i < options.num_layers; ++i) {
    attentions.push_back(
        list->register_module(std::to_string(i), Attention(channels, options.attention_options)));
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

}  // namespace

DownBlockImpl::DownBlockImpl(int64_t in_channels, int64_t out_channels,
                             const LevelOptions& options) {
  std::vector<int64_t> inputs(static_cast<size_t>(options.num_layers), out_channels);
  inputs.front() = in_channels;
  attentions_ = add_attentions(*this, out_channels, options);
  resnets_ = add_resnets(*this, inputs, out_channels, options.resnet);
  switch (options.resampling) {
    case LevelResampling::kNone:
      break;
    case LevelResampling::kConv:
      conv_downsampler_ =
          add_list(*this, "downsamplers")
              ->register_module("0", Downsample(out_channels, options.downsample_padding));
      break;
    case LevelResampling::kResnet:
      resnet_downsampler_ =
          add_list(*this, "downsamplers")
              ->register_module(
                  "0", ResnetBlock(out_channels, out_channels, options.resnet, Resampling::kDown));
      break;
  }
}

Tensor DownBlockImpl::forward(const Tensor& x, const Tensor& e, std::vector<Tensor>& skips) {
  Tensor h = x;
  for (size_t i = 0; i < resnets_.size(); ++i) {
    h = resnets_[i]->forward(h, e);
    if (!attentions_.empty()) h = attentions_[i]->forward(h);
    skips.push_back(h);
  }
  if (conv_downsampler_) skips.push_back(h = conv_downsampler_->forward(h));
  if (resnet_downsampler_) skips.push_back(h = resnet_downsampler_->forward(h, e));
  return h;
}

UpBlockImpl::UpBlockImpl(const UpChannels& channels, const LevelOptions& options) {
  std::vector<int64_t> inputs(static_cast<size_t>(options.num_layers), channels.out);
  inputs.front() = channels.below;
  for (size_t i = 0; i < inputs.size(); ++i) {
    inputs[i] += i + 1 == inputs.size() ? channels.skip : channels.out;
  }
  attentions_ = add_attentions(*this, channels.out, options);
  resnets_ = add_resnets(*this, inputs, channels.out, options.resnet);
  switch (options.resampling) {
    case LevelResampling::kNone:
      break;
    case LevelResampling::kConv:
      conv_upsampler_ = add_list(*this, "upsamplers")->register_module("0", Upsample(channels.out));
      break;
    case LevelResampling::kResnet:
      resnet_upsampler_ = add_list(*this, "upsamplers")
                              ->register_module("0", ResnetBlock(channels.out, channels.out,
                                                                 options.resnet, Resampling::kUp));
      break;
  }
}

Tensor UpBlockImpl::forward(const Tensor& x, const Tensor& e, std::vector<Tensor>& skips) {
  Tensor h = x;
  for (size_t i = 0; i < resnets_.size(); ++i) {
    const Tensor skip = std::move(skips.back());
    skips.pop_back();
    h = resnets_[i]->forward(at::cat({h, skip}, /*dim=*/1), e);
    if (!attentions_.empty()) h = attentions_[i]->forward(h);
  }
  if (conv_upsampler_) h = conv_upsampler_->forward(h);
  if (resnet_upsampler_) h = resnet_upsampler_->forward(h, e);
  return h;
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

Tensor MidBlockImpl::forward(const Tensor& x, const Tensor& e) {
  Tensor h = first_->forward(x, e);
  if (attention_) h = attention_->forward(h);
  return second_->forward(h, e);
}

}  // namespace ddpm
