#include "ddpm/kernels/cuda/upsampled_conv2d_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <vector>

#include "ddpm/kernels/cuda/conv2d_tiles.h"
#include "ddpm/kernels/cuda/conv2d_warpgroup_kernels.h"
#include "ddpm/kernels/cuda/map_part_sums.h"
#include "ddpm/kernels/cuda/map_sums.h"
#include "ddpm/kernels/cuda/side_stream.h"
#include "ddpm/kernels/cuda/upsampled_weight_kernels.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Of the strided convolution that a gradient of the small map is.
constexpr std::array<int64_t, 2> kStrides{2, 2}, kPaddings{1, 1}, kDilations{1, 1}, kNoPadding{};
constexpr int64_t kPhases = 4, kPhaseTaps = 2, kWideSide = 4;

// With 512 images an H100 takes 1,065 us for the gradient of a weight of 256 channels from 16x16 to
// 32x32 pixels, with 128 images 108 (cuDNN's choice of kernels).
constexpr int64_t kMostImages = 128;

WarpgroupConv upsampled_shape(const Tensor& x, const Tensor& weight) {
  return {.images = static_cast<int>(x.size(0)),
          .height = static_cast<int>(x.size(2) * 2),
          .width = static_cast<int>(x.size(3) * 2),
          .channels = static_cast<int>(x.size(1)),
          .out_channels = static_cast<int>(weight.size(0)),
          .upsampled = true};
}

UpsampledWeightShape weight_shape(const Tensor& weight) {
  return {.out_channels = static_cast<int>(weight.size(0)),
          .in_channels = static_cast<int>(weight.size(1))};
}

bool is_bf16_of(const Tensor& tensor, at::Device device) {
  return !tensor.defined() || (tensor.device() == device && tensor.scalar_type() == at::kBFloat16);
}

Tensor empty_channels_last(at::IntArrayRef sizes, const Tensor& like) {
  return at::empty(sizes, like.options().memory_format(at::MemoryFormat::ChannelsLast));
}

/// Of a weight [O, C, 3, 3].
struct ExpandedWeight {
  Tensor phases;  ///< [4 O, C, 2, 2]
  Tensor taps;    ///< [C, O, 4, 4] of the transposed convolution of stride 2

  explicit ExpandedWeight(const Tensor& weight)
      : phases(empty_channels_last(
            {kPhases * weight.size(0), weight.size(1), kPhaseTaps, kPhaseTaps}, weight)),
        taps(empty_channels_last({weight.size(1), weight.size(0), kWideSide, kWideSide}, weight)) {
    C10_CUDA_CHECK(expand_upsampled_weight(weight_shape(weight), weight.const_data_ptr(),
                                           phases.mutable_data_ptr(), taps.mutable_data_ptr(),
                                           c10::cuda::getCurrentCUDAStream()));
  }
};

Tensor convolve_phases(const Tensor& x, const Tensor& weight, const Tensor& phases,
                       const Tensor& bias) {
  const WarpgroupConv conv = upsampled_shape(x, weight);
  const Tensor tiles = warpgroup_tiles(phases);
  const Tensor y =
      empty_channels_last({conv.images, conv.out_channels, conv.height, conv.width}, x);
  const Tensor sums = empty_part_sums(y, conv2d_warpgroup_parts(conv));
  C10_CUDA_CHECK(conv2d_warpgroup(conv,
                                  {.x = x.const_data_ptr(),
                                   .weight = tiles.const_data_ptr(),
                                   .bias = data_of(bias),
                                   .out = y.mutable_data_ptr(),
                                   .sums = sums.mutable_data_ptr<float>()},
                                  c10::cuda::getCurrentCUDAStream()));
  keep_part_sums(y, sums);
  return y;
}

/// Of the taps, in parts that are to be added: [C, O, 4, 4] each.
std::vector<Tensor> tap_gradients(const Tensor& d_y, const Tensor& x, const Tensor& taps) {
  const int64_t images = x.size(0);
  const int64_t parts =
      std::min<int64_t>((images + kMostImages - 1) / kMostImages, kMostTapGradients);
  std::vector<Tensor> gradients;
  for (int64_t part = 0; part < parts; ++part) {
    const int64_t first = images * part / parts, count = images * (part + 1) / parts - first;
    const auto [unused_map, d_taps, unused_bias] = at::convolution_backward(
        x.narrow(/*dim=*/0, first, count), d_y.narrow(/*dim=*/0, first, count), taps,
        /*bias_sizes=*/std::nullopt, kStrides, kPaddings, kDilations, /*transposed=*/false,
        /*output_padding=*/kNoPadding, /*groups=*/1, {false, true, false});
    gradients.push_back(channels_last(d_taps));
  }
  return gradients;
}

Tensor weight_gradient(const Tensor& d_y, const Tensor& x, const Tensor& weight,
                       const Tensor& taps) {
  const std::vector<Tensor> parts = tap_gradients(d_y, x, taps);
  TapGradients d_taps{.count = static_cast<int>(parts.size())};
  for (size_t part = 0; part < parts.size(); ++part) {
    d_taps.parts[part] = parts[part].const_data_ptr();
  }
  const Tensor d_weight = at::empty_like(weight);
  C10_CUDA_CHECK(collapse_tap_gradients(weight_shape(weight), d_taps, d_weight.mutable_data_ptr(),
                                        c10::cuda::getCurrentCUDAStream()));
  return d_weight;
}

class UpsampledConv2d : public torch::autograd::Function<UpsampledConv2d> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias) {
    const c10::cuda::CUDAGuard guard(x.device());
    const ExpandedWeight expanded(weight);
    ctx->save_for_backward({x, weight, expanded.taps});
    ctx->saved_data["has_bias"] = bias.has_value();
    ctx->saved_data["leaves"] = are_leaves({weight, bias.value_or(Tensor())});
    return convolve_phases(x, weight, expanded.phases, bias.value_or(Tensor()));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_outputs) {
    enum Input { kX, kWeight, kBias, kNumInputs };
    enum Saved { kTaps = kBias };
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x = saved[kX], &weight = saved[kWeight], &taps = saved[kTaps];
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor d_y = channels_last(d_outputs[0]);
    variable_list d_inputs(kNumInputs);
    if (ctx->needs_input_grad(kX)) {
      d_inputs[kX] = channels_last(at::convolution(d_y, taps, /*bias=*/{}, kStrides, kPaddings,
                                                   kDilations, /*transposed=*/false,
                                                   /*output_padding=*/kNoPadding, /*groups=*/1));
    }
    if (ctx->needs_input_grad(kWeight)) {
      run_beside({d_y, x, taps},
                 [&] { d_inputs[kWeight] = weight_gradient(d_y, x, weight, taps); });
    }
    const bool needs_bias = ctx->saved_data["has_bias"].toBool() && ctx->needs_input_grad(kBias);
    give_sums_of_pixels(d_y, {needs_bias ? &d_inputs[kBias] : nullptr});
    if (!ctx->saved_data["leaves"].toBool()) join_beside();
    return d_inputs;
  }
};

}  // namespace

bool upsampled_conv2d_is_fused(const Conv2dArgs& args) {
  const Tensor &x = args.x, &weight = args.weight;
  if (!args.upsampled || !x.is_cuda() || args.x_rest.defined() || args.residual.defined() ||
      args.residual_bias.defined() || args.image_bias.defined() || args.shortcut != nullptr ||
      args.norm != nullptr || weight.size(1) != x.size(1) || !has_warpgroup_tiles(weight) ||
      !weight.is_contiguous(at::MemoryFormat::ChannelsLast)) {
    return false;
  }
  for (const Tensor* tensor : {&x, &weight, &args.bias}) {
    if (!is_bf16_of(*tensor, x.device())) return false;
  }
  if (args.bias.defined() && args.bias.sizes() != at::IntArrayRef({weight.size(0)})) return false;
  const c10::cuda::CUDAGuard guard(x.device());
  return is_warpgroup_conv(upsampled_shape(x, weight));
}

Tensor fused_upsampled_conv2d(const Conv2dArgs& args) {
  return UpsampledConv2d::apply(channels_last(args.x), args.weight, if_defined(args.bias));
}

}  // namespace ddpm::cuda
