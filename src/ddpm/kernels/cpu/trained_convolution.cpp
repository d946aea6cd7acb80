#include "ddpm/kernels/cpu/trained_convolution.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <tuple>

#include "ddpm/core/amx.h"
#include "ddpm/core/check.h"
#include "ddpm/kernels/cpu/convolution_bf16.h"
#include "ddpm/kernels/cpu/weight_gradient_bf16.h"
#include "ddpm/kernels/cpu/winograd_convolution.h"
#include "ddpm/kernels/cpu/winograd_gradient.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cpu {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kTiledChannels = 32;  // a multiple of these
// Of all images; with fewer, transforming a weight takes about as long as multiplying by it. Not a
// sharp bound: 64 and 2,048 took the same time.
constexpr int64_t kFewestTrainedPixels = 1024;

struct Steps {
  int64_t stride, padding;
};

/// By LibTorch: of x alone or of the weight alone.
Tensor differentiate(const Tensor& d_y, const Tensor& x, const Tensor& weight, const Steps& steps,
                     bool of_x) {
  const std::array<int64_t, 2> stride{steps.stride, steps.stride};
  const std::array<int64_t, 2> padding{steps.padding, steps.padding};
  const auto [d_x, d_weight, unused] = at::convolution_backward(
      d_y, x, weight, /*bias_sizes=*/std::nullopt, stride, padding, /*dilation=*/{1, 1},
      /*transposed=*/false, /*output_padding=*/{0, 0}, /*groups=*/1, {of_x, !of_x, false});
  return (of_x ? d_x : d_weight).contiguous(at::MemoryFormat::ChannelsLast);
}

Tensor map_gradient(const Tensor& d_y, const Tensor& x, const Tensor& weight, const Steps& steps) {
  if (steps.stride != 1) return differentiate(d_y, x, weight, steps, /*of_x=*/true);
  if (x.scalar_type() == at::kFloat) {
    return convolve_winograd(d_y, turned_winograd_weight_of(weight), /*bias=*/{}, /*residual=*/{},
                             weight.size(2) - 1 - steps.padding);
  }
  return convolve_bf16(d_y, turned_bf16_blocks_of(weight), /*bias=*/{}, /*residual=*/{},
                       /*stride=*/1, weight.size(2) - 1 - steps.padding);
}

Tensor weight_gradient(const Tensor& d_y, const Tensor& x, const Tensor& weight,
                       const Steps& steps) {
  const int64_t kernel = weight.size(2);
  if (x.scalar_type() == at::kFloat) return winograd_weight_gradient(d_y, x, steps.padding);
  if (has_weight_gradient_bf16(d_y, x, kernel, steps.stride, steps.padding)) {
    return weight_gradient_bf16(d_y, x, kernel, steps.stride, steps.padding);
  }
  return differentiate(d_y, x, weight, steps, /*of_x=*/false);
}

class TrainedConv2d : public torch::autograd::Function<TrainedConv2d> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias, const std::optional<Tensor>& residual,
                        int64_t stride, int64_t padding) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["stride"] = stride;
    ctx->saved_data["padding"] = padding;
    ctx->saved_data["has_bias"] = bias.has_value();
    ctx->saved_data["has_residual"] = residual.has_value();
    const Tensor map_bias = bias.value_or(Tensor()), rest = residual.value_or(Tensor());
    if (x.scalar_type() == at::kFloat) {
      return convolve_winograd(x, winograd_weight_of(weight), map_bias, rest, padding);
    }
    return convolve_bf16(x, bf16_blocks_of(weight, /*is_tiled=*/true), map_bias, rest, stride,
                         padding);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_outputs) {
    enum ConvInput { kMap, kKernel, kMapBias, kMapResidual, kConvInputs = 6 };
    check_arg(!at::GradMode::is_enabled(),
              "[conv2d] expected create_graph = false: its gradients have no gradients");
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x = saved[kMap], &weight = saved[kKernel];
    const Steps steps{ctx->saved_data["stride"].toInt(), ctx->saved_data["padding"].toInt()};
    const Tensor d_y = channels_last(d_outputs[0]);
    variable_list d_inputs(kConvInputs);
    if (ctx->needs_input_grad(kMap)) d_inputs[kMap] = map_gradient(d_y, x, weight, steps);
    if (ctx->needs_input_grad(kKernel)) d_inputs[kKernel] = weight_gradient(d_y, x, weight, steps);
    size_t edge = kMapBias;  // inputs that are not there have none
    if (ctx->saved_data["has_bias"].toBool() && ctx->needs_input_grad(edge++)) {
      d_inputs[kMapBias] = d_y.sum({0, 2, 3});
    }
    if (ctx->saved_data["has_residual"].toBool() && ctx->needs_input_grad(edge)) {
      d_inputs[kMapResidual] = d_y;
    }
    return d_inputs;
  }
};

bool is_dense_convolution(const Conv2dArgs& args) {
  for (const Tensor* tensor : {&args.x, &args.weight, &args.bias, &args.residual}) {
    if (!tensor->defined()) continue;
    if (!tensor->is_cpu() || tensor->scalar_type() != args.x.scalar_type()) return false;
  }
  return !args.transposed && !args.upsampled && !args.padded && !args.x_rest.defined() &&
         !args.residual_bias.defined() && !args.image_bias.defined() && args.norm == nullptr &&
         args.shortcut == nullptr && args.x.dim() == 4 && args.x.size(1) == args.weight.size(1);
}

bool trains_by_tiles(const Conv2dArgs& args) {
  const Tensor& weight = args.weight;
  const int64_t kernel = weight.size(2);
  return args.x.scalar_type() == at::kBFloat16 && cpu_has_amx() && (kernel == 1 || kernel == 3) &&
         weight.size(3) == kernel && args.padding < kernel &&
         weight.size(0) % kTiledChannels == 0 && weight.size(1) % kTiledChannels == 0 &&
         has_bf16_blocks(weight);
}

bool trains_by_winograd(const Conv2dArgs& args) {
  return has_winograd(args.weight, args.stride, args.padding) &&
         args.x.size(2) + 2 * args.padding >= 3 && args.x.size(3) + 2 * args.padding >= 3 &&
         args.x.size(0) * args.x.size(2) * args.x.size(3) >= kFewestTrainedPixels;
}

}  // namespace

bool has_trained_conv2d(const Conv2dArgs& args) {
  return is_dense_convolution(args) && (trains_by_tiles(args) || trains_by_winograd(args));
}

Tensor trained_conv2d(const Conv2dArgs& args) {
  return TrainedConv2d::apply(channels_last(args.x), channels_last(args.weight),
                              if_defined(args.bias), if_defined(channels_last(args.residual)),
                              args.stride, args.padding);
}

}  // namespace ddpm::cpu
