#include "ddpm/model/resnet_block.h"

#include <ATen/ATen.h>

#include <memory>
#include <stdexcept>
#include <vector>

#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/model/resample.h"

namespace ddpm {

ResnetBlockImpl::ResnetBlockImpl(int64_t in_channels, int64_t out_channels,
                                 const ResnetOptions& options, Resampling resampling)
    : options_(options), resampling_(resampling) {
  const int64_t projections = options.time_scale_shift == TimeScaleShift::kScaleShift ? 2 : 1;
  const LayerInit init = plain_init(options.weight_init);
  const bool projects = options.resample_projection && resampling != Resampling::kNone;
  norm1_ =
      register_module("norm1", GroupNorm(options.norm_num_groups, in_channels, options.norm_eps));
  conv1_ = register_module("conv1",
                           Conv2d(in_channels, out_channels, Conv2dImpl::Options{.init = init}));
  time_emb_proj_ = register_module(
      "time_emb_proj",
      Linear(options.time_channels, projections * out_channels, LinearImpl::Options{.init = init}));
  norm2_ =
      register_module("norm2", GroupNorm(options.norm_num_groups, out_channels, options.norm_eps));
  conv2_ =
      register_module("conv2", Conv2d(out_channels, out_channels,
                                      Conv2dImpl::Options{.init = last_init(options.weight_init)}));
  if (in_channels != out_channels || projects) {
    conv_shortcut_ = register_module(
        "conv_shortcut", Conv2d(in_channels, out_channels,
                                Conv2dImpl::Options{.kernel = 1, .padding = 0, .init = init}));
  }
}

Tensor ResnetBlockImpl::resample(const Tensor& x) const {
  switch (resampling_) {
    case Resampling::kNone:
      return x;
    case Resampling::kDown:
      return downsample_mean(x);
    case Resampling::kUp:
      return upsample_nearest(x);
  }
  throw std::logic_error("[ResnetBlock] not a Resampling");
}

Tensor ResnetBlockImpl::added_to_time() const {
  return options_.time_scale_shift == TimeScaleShift::kDefault ? conv1_->bias() : Tensor();
}

Tensor ResnetBlockImpl::forward(const Tensor& x, const Tensor& time, const Tensor& x_rest) {
  if (!checkpoints(*this)) return run(x, time, x_rest).y;
  std::vector<Tensor> inputs{x, time};
  if (x_rest.defined()) inputs.push_back(x_rest);
  const auto self = std::static_pointer_cast<ResnetBlockImpl>(shared_from_this());
  return gradient_checkpoint(
      [self](const std::vector<Tensor>& again) {
        return self->run(again[0], again[1], again.size() > 2 ? again[2] : Tensor()).y;
      },
      inputs, /*draws=*/options_.dropout > 0);
}

MapFork ResnetBlockImpl::forward_fork(const Tensor& x, const Tensor& time) {
  if (checkpoints(*this)) return {.y = forward(x, time), .x = x};
  return run(x, time, /*x_rest=*/{});
}

GroupNormSiluArgs ResnetBlockImpl::second_norm(const Tensor& h, const Tensor& time) const {
  GroupNormSiluArgs norm = norm2_->args(h);
  if (options_.time_scale_shift == TimeScaleShift::kScaleShift) {
    const int64_t channels = time.size(1) / 2;
    norm.scale = time.narrow(/*dim=*/1, 0, channels);
    norm.shift = time.narrow(/*dim=*/1, channels, channels);
  }
  norm.dropout = options_.dropout;
  norm.training = is_training();
  return norm;
}

Conv2dArgs ResnetBlockImpl::first_conv(const GroupNormSiluArgs& norm, const Tensor& time,
                                       const Tensor& x_rest) const {
  Conv2dArgs conv = conv1_->args_without_bias(norm.x, x_rest);
  conv.norm = &norm;
  if (options_.time_scale_shift == TimeScaleShift::kDefault) {
    conv.image_bias = time;
  } else {
    conv.bias = conv1_->bias();
  }
  return conv;
}

Conv2dFork ResnetBlockImpl::first_conv_alone(const GroupNormSiluArgs& norm, const Tensor& x_rest) {
  if (resampling_ == Resampling::kNone) {
    Conv2dArgs conv = conv1_->args_without_bias(norm.x, x_rest);
    conv.norm = &norm;
    return conv2d_fork(conv);
  }
  const GroupNormFork fork = group_norm_silu_fork(norm, x_rest);
  return {.y = conv1_->forward_without_bias(resample(fork.y)),
          .x = resample(fork.x),
          .x_rest = fork.x_rest.defined() ? resample(fork.x_rest) : Tensor(),
          .x_later = fork.x_later};
}

Tensor ResnetBlockImpl::second_conv(const GroupNormSiluArgs& norm, const Tensor& x,
                                    const Tensor& x_rest) const {
  Conv2dArgs conv = conv2_->args_without_bias(norm.x);
  conv.norm = &norm;
  conv.bias = conv2_->bias();
  Conv2dArgs shortcut;
  if (conv_shortcut_) {
    shortcut = conv_shortcut_->args_without_bias(x, x_rest);
    conv.shortcut = &shortcut;
    conv.residual_bias = conv_shortcut_->bias();
  } else {
    conv.residual = x_rest.defined() ? at::cat({x, x_rest}, /*dim=*/1) : x;
  }
  return conv2d(conv);
}

MapFork ResnetBlockImpl::run(const Tensor& x, const Tensor& time, const Tensor& x_rest) {
  const GroupNormSiluArgs norm = norm1_->args(x);
  if (resampling_ == Resampling::kNone && options_.output_scale_factor == 1.0) {
    const Conv2dArgs conv = first_conv(norm, time, x_rest);
    if (conv2d_is_one_pass(conv)) {
      return {.y = second_conv(second_norm(conv2d(conv), time), x, x_rest), .x = x};
    }
  }
  const Conv2dFork first = first_conv_alone(norm, x_rest);
  GroupNormSiluArgs second = second_norm(first.y, time);
  second.time_embedding = options_.time_scale_shift == TimeScaleShift::kDefault
                              ? time
                              : conv1_->bias().expand({x.size(0), first.y.size(1)});
  const Tensor sum = second_conv(second, first.x, first.x_rest);
  return {.y = options_.output_scale_factor == 1.0 ? sum : sum / options_.output_scale_factor,
          .x = first.x_later};
}

}  // namespace ddpm
