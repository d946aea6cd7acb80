#include "ddpm/kernels/cuda/conv2d_few_channels_function.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <algorithm>

#include "ddpm/kernels/cuda/conv2d_few_channels_kernels.h"
#include "ddpm/kernels/cuda/device_clusters.h"
#include "ddpm/kernels/cuda/group_norm_sums_kernels.h"
#include "ddpm/kernels/cuda/map_part_sums.h"

namespace ddpm::cuda {
namespace {

FewChannelsConv few_channels_shape(const Conv2dArgs& args) {
  return {.images = static_cast<int>(args.x.size(0)),
          .height = static_cast<int>(args.x.size(2)),
          .width = static_cast<int>(args.x.size(3)),
          .channels = static_cast<int>(args.x.size(1)),
          .out_channels = static_cast<int>(args.weight.size(0))};
}

bool is_bf16_on_gpu(const Tensor& tensor) {
  return !tensor.defined() || (tensor.is_cuda() && tensor.scalar_type() == at::kBFloat16);
}

/// One map, one weight, perhaps a bias and a norm.
bool is_alone(const Conv2dArgs& args) {
  return !args.x_rest.defined() && !args.residual.defined() && !args.residual_bias.defined() &&
         !args.image_bias.defined() && args.shortcut == nullptr && !args.transposed &&
         !args.upsampled && args.stride == 1 && args.padding == 1 && args.weight.size(2) == 3 &&
         args.weight.size(3) == 3 && args.weight.size(1) == args.x.size(1);
}

/// The last one takes the norm; the first has none.
bool takes_pixels_out(const Conv2dArgs& args) {
  return args.norm != nullptr && args.norm->weight.sizes() == at::IntArrayRef({args.x.size(1)}) &&
         args.norm->bias.sizes() == args.norm->weight.sizes() && !args.norm->scale.defined() &&
         !args.norm->shift.defined() && !args.norm->time_embedding.defined() && args.norm->silu &&
         has_norm_rows(*args.norm, args.x.size(1)) && is_conv2d_to_pixels(few_channels_shape(args));
}

FewChannelsConv turned_few_channels_shape(const Tensor& d_y, const Tensor& weight) {
  return {.images = static_cast<int>(d_y.size(0)),
          .height = static_cast<int>(d_y.size(2)),
          .width = static_cast<int>(d_y.size(3)),
          .channels = static_cast<int>(weight.size(0)),
          .out_channels = static_cast<int>(weight.size(1)),
          .turned = true};
}

/// Of the weight; the narrower map is the one with few channels.
FewChannelsGradient few_channels_gradient_shape(const Tensor& d_y, const Tensor& x) {
  const bool to_pixels = d_y.size(1) < x.size(1);
  const auto few = static_cast<int>(std::min(d_y.size(1), x.size(1)));
  const auto wide = static_cast<int>(std::max(d_y.size(1), x.size(1)));
  return {.images = static_cast<int>(d_y.size(0)),
          .height = static_cast<int>(d_y.size(2)),
          .width = static_cast<int>(d_y.size(3)),
          .channels = few,
          .wide_channels = wide,
          .to_pixels = to_pixels};
}

bool is_dense_map(const Tensor& map) {
  return is_bf16_on_gpu(map) && map.is_contiguous(at::MemoryFormat::ChannelsLast);
}

}  // namespace

bool fits_few_channels_conv2d(const Conv2dArgs& args) {
  if (!args.x.is_cuda() || !is_bf16_on_gpu(args.x) || !is_bf16_on_gpu(args.weight) ||
      !is_bf16_on_gpu(args.bias) || !is_alone(args) ||
      !args.weight.is_contiguous(at::MemoryFormat::ChannelsLast)) {
    return false;
  }
  if (args.bias.defined() && args.bias.sizes() != at::IntArrayRef({args.weight.size(0)})) {
    return false;
  }
  const c10::cuda::CUDAGuard guard(args.x.device());
  if (!device_has_clusters()) return false;  // only such devices have been measured
  return args.norm == nullptr ? is_conv2d_of_pixels(few_channels_shape(args))
                              : takes_pixels_out(args);
}

bool is_few_channels_conv2d(const Conv2dArgs& args) {
  return !at::GradMode::is_enabled() && fits_few_channels_conv2d(args);
}

Tensor few_channels_conv2d(const Conv2dArgs& args, NormStatistics* statistics) {
  const c10::cuda::CUDAGuard guard(args.x.device());
  const FewChannelsConv conv = few_channels_shape(args);
  const Tensor x = args.x.contiguous(at::MemoryFormat::ChannelsLast);
  const Tensor y = at::empty({conv.images, conv.out_channels, conv.height, conv.width},
                             x.options().memory_format(at::MemoryFormat::ChannelsLast));
  FewChannelsTensors tensors{.x = x.const_data_ptr(),
                             .weight = args.weight.const_data_ptr(),
                             .bias = args.bias.defined() ? args.bias.const_data_ptr() : nullptr,
                             .out = y.mutable_data_ptr()};
  if (args.norm != nullptr) {
    NormInputs inputs(*args.norm, x, /*x_rest=*/{});
    if (statistics != nullptr) inputs.ask_for(*statistics);
    const Tensor norm = norm_rows(inputs);
    tensors.norm = norm.const_data_ptr<float>();
    C10_CUDA_CHECK(conv2d_to_pixels(conv, tensors, c10::cuda::getCurrentCUDAStream()));
    return y;
  }
  const Tensor sums = empty_part_sums(y, conv.height * conv.width / kSumPixels);
  tensors.sums = sums.mutable_data_ptr<float>();
  C10_CUDA_CHECK(conv2d_of_pixels(conv, tensors, c10::cuda::getCurrentCUDAStream()));
  keep_part_sums(y, sums);
  return y;
}

bool has_few_channels_input_gradient(const Tensor& d_y, const Tensor& weight) {
  return is_bf16_on_gpu(d_y) && is_bf16_on_gpu(weight) && weight.size(2) == 3 &&
         weight.size(3) == 3 && weight.is_contiguous(at::MemoryFormat::ChannelsLast) &&
         is_conv2d_of_pixels(turned_few_channels_shape(d_y, weight)) && device_has_clusters();
}

Tensor few_channels_input_gradient(const Tensor& d_y, const Tensor& weight) {
  const FewChannelsConv conv = turned_few_channels_shape(d_y, weight);
  const Tensor d_x = at::empty({conv.images, conv.out_channels, conv.height, conv.width},
                               d_y.options().memory_format(at::MemoryFormat::ChannelsLast));
  C10_CUDA_CHECK(conv2d_of_pixels(
      conv,
      {.x = d_y.const_data_ptr(), .weight = weight.const_data_ptr(), .out = d_x.mutable_data_ptr()},
      c10::cuda::getCurrentCUDAStream()));
  return d_x;
}

bool has_few_channels_weight_gradient(const Tensor& d_y, const Tensor& x, const Tensor& weight) {
  return is_dense_map(d_y) && is_dense_map(x) && is_dense_map(weight) && weight.size(2) == 3 &&
         weight.size(3) == 3 && d_y.sizes().slice(2) == x.sizes().slice(2) &&
         is_conv2d_few_channels_gradient(few_channels_gradient_shape(d_y, x)) &&
         device_has_clusters();
}

Tensor few_channels_weight_gradient(const Tensor& d_y, const Tensor& x, const Tensor& weight) {
  const FewChannelsGradient gradient = few_channels_gradient_shape(d_y, x);
  const Tensor &few = gradient.to_pixels ? d_y : x, &wide = gradient.to_pixels ? x : d_y;
  const Tensor d_weight = at::empty_like(weight);
  const Tensor scratch =
      at::empty({conv2d_few_channels_gradient_scratch(gradient)}, d_y.options().dtype(at::kFloat));
  C10_CUDA_CHECK(conv2d_few_channels_gradient(
      gradient, few.const_data_ptr(), wide.const_data_ptr(), scratch.mutable_data_ptr<float>(),
      d_weight.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream()));
  return d_weight;
}

}  // namespace ddpm::cuda
