#include "ddpm/kernels/cuda/conv2d_function.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <tuple>

#include "ddpm/kernels/cuda/conv2d_few_channels_function.h"
#include "ddpm/kernels/cuda/conv2d_few_pixels_function.h"
#include "ddpm/kernels/cuda/conv2d_gradients.h"
#include "ddpm/kernels/cuda/map_part_sums.h"
#include "ddpm/kernels/cuda/map_sums.h"
#include "ddpm/kernels/cuda/pixel_product_function.h"
#include "ddpm/kernels/cuda/side_stream.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kDilation[] = {1, 1};
constexpr int64_t kOutputPadding[] = {0, 0};

/// What a convolution is besides its tensors.
struct ConvShape {
  int64_t stride, padding;
  bool transposed;
};
/// What is added to it; undefined tensors take no part.
struct ConvAddends {
  Tensor bias, residual, residual_bias;
};

Tensor convolve(const ConvShape& shape, const Tensor& x, const Tensor& weight) {
  const std::array<int64_t, 2> stride{shape.stride, shape.stride};
  const std::array<int64_t, 2> padding{shape.padding, shape.padding};
  return at::convolution(x, weight, /*bias=*/{}, stride, padding, kDilation, shape.transposed,
                         kOutputPadding, /*groups=*/1)
      .contiguous(at::MemoryFormat::ChannelsLast);
}

/// A smaller map goes into a norm next.
bool sums_parts_with_bias(const ConvShape& shape, const Tensor& y, const ConvAddends& addends) {
  return shape.stride > 1 && !shape.transposed && addends.bias.defined() &&
         !addends.residual.defined() && !addends.residual_bias.defined() && can_sum_parts(y);
}

/// The convolution of x with the addends added in the same pass or in place.
Tensor forward_of(const ConvShape& shape, const Tensor& x, const Tensor& weight,
                  const ConvAddends& addends) {
  const c10::cuda::CUDAGuard guard(x.device());
  const at::NoGradGuard no_grad;
  const Conv2dArgs args{.x = x,
                        .weight = weight,
                        .bias = addends.bias,
                        .residual = addends.residual,
                        .residual_bias = addends.residual_bias,
                        .stride = shape.stride,
                        .padding = shape.padding,
                        .transposed = shape.transposed};
  if (is_few_pixels_conv2d(args)) return few_pixels_conv2d(args);
  if (is_few_channels_conv2d(args)) return few_channels_conv2d(args);
  Tensor y = convolve(shape, x, weight);
  if (sums_parts_with_bias(shape, y, addends)) {
    add_bias_and_keep_sums(y, addends.bias);
  } else {
    add_to_map(y, addends.bias, addends.residual, addends.residual_bias);
  }
  return y;
}

/// By ATen: of x, or of the weight.
std::tuple<Tensor, Tensor, Tensor> differentiate(const ConvShape& shape, const Tensor& d_y,
                                                 const Tensor& x, const Tensor& weight, bool of_x) {
  const std::array<int64_t, 2> stride{shape.stride, shape.stride};
  const std::array<int64_t, 2> padding{shape.padding, shape.padding};
  return at::convolution_backward(d_y, x, weight, /*bias_sizes=*/std::nullopt, stride, padding,
                                  kDilation, shape.transposed, kOutputPadding, /*groups=*/1,
                                  {of_x, !of_x, false});
}

Tensor input_gradient(const ConvShape& shape, const Tensor& d_y, const Tensor& x,
                      const Tensor& weight) {
  const bool is_backwards = shape.stride == 1 && !shape.transposed &&
                            prefers_convolution_backwards(weight, shape.padding);
  return is_backwards ? convolve_backwards(d_y, weight, shape.padding)
                      : std::get<0>(differentiate(shape, d_y, x, weight, /*of_x=*/true));
}

Tensor weight_gradient(const ConvShape& shape, const Tensor& d_y, const Tensor& x,
                       const Tensor& weight) {
  const bool is_plain = shape.stride == 1 && shape.padding == 1 && !shape.transposed &&
                        weight.size(2) == 3 && weight.size(3) == 3;
  if (is_plain) return conv2d_weight_gradient(d_y, x, /*x_rest=*/{}, weight);
  return std::get<1>(differentiate(shape, d_y, x, weight, /*of_x=*/false));
}

class Conv2d : public torch::autograd::Function<Conv2d> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& bias, const std::optional<Tensor>& residual,
                        const std::optional<Tensor>& residual_bias, const ConvShape& shape) {
    ctx->save_for_backward({x, weight});
    ctx->saved_data["stride"] = shape.stride;
    ctx->saved_data["padding"] = shape.padding;
    ctx->saved_data["transposed"] = shape.transposed;
    ctx->saved_data["has_bias"] = bias.has_value();
    ctx->saved_data["has_residual"] = residual.has_value();
    ctx->saved_data["has_residual_bias"] = residual_bias.has_value();
    ctx->saved_data["leaves"] =
        are_leaves({weight, bias.value_or(Tensor()), residual_bias.value_or(Tensor())});
    return forward_of(
        shape, x, weight,
        {bias.value_or(Tensor()), residual.value_or(Tensor()), residual_bias.value_or(Tensor())});
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_outputs) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor& x = saved[kX];
    const Tensor& weight = saved[kWeight];
    const c10::cuda::CUDAGuard guard(x.device());
    const ConvShape shape{.stride = ctx->saved_data["stride"].toInt(),
                          .padding = ctx->saved_data["padding"].toInt(),
                          .transposed = ctx->saved_data["transposed"].toBool()};
    const Tensor d_y = d_outputs[0].contiguous(at::MemoryFormat::ChannelsLast);
    variable_list d_inputs(kNumInputs + 1);  // the shape has none
    if (ctx->needs_input_grad(kX)) d_inputs[kX] = input_gradient(shape, d_y, x, weight);
    if (ctx->needs_input_grad(kWeight)) {
      run_beside({d_y, x}, [&] {
        d_inputs[kWeight] = in_strides_of(weight, weight_gradient(shape, d_y, x, weight));
      });
    }
    add_gradients_of_addends(*ctx, d_outputs[0], d_y, d_inputs);
    if (!ctx->saved_data["leaves"].toBool()) join_beside();
    return d_inputs;
  }

 private:
  enum ConvInput { kX, kWeight, kBias, kResidual, kResidualBias, kNumInputs };

  static void add_gradients_of_addends(const AutogradContext& ctx, const Tensor& d_output,
                                       const Tensor& d_y, variable_list& d_inputs) {
    size_t edge = kBias;  // autograd numbers the inputs that are there
    const auto has = [&](const char* name) { return ctx.saved_data.at(name).toBool(); };
    const bool needs_bias = has("has_bias") && ctx.needs_input_grad(edge++);
    if (has("has_residual") && ctx.needs_input_grad(edge++)) d_inputs[kResidual] = d_output;
    const bool needs_residual_bias = has("has_residual_bias") && ctx.needs_input_grad(edge++);
    give_sums_of_pixels(d_y, {needs_bias ? &d_inputs[kBias] : nullptr,
                              needs_residual_bias ? &d_inputs[kResidualBias] : nullptr});
  }
};

ConvShape conv_shape(const Conv2dArgs& args) {
  return {.stride = args.stride, .padding = args.padding, .transposed = args.transposed};
}

}  // namespace

bool conv2d_is_fused(const Conv2dArgs& args) {
  const auto dtype = args.x.scalar_type();
  if (is_pixel_product(args) ? args.residual_bias.defined() : args.x_rest.defined()) return false;
  if (!args.x.is_cuda() || (dtype != at::kBFloat16 && dtype != at::kFloat)) return false;
  for (const Tensor* other :
       {&args.x_rest, &args.weight, &args.bias, &args.residual, &args.residual_bias}) {
    if (other->defined() && other->scalar_type() != dtype) return false;
  }
  return true;
}

Tensor fused_conv2d(const Conv2dArgs& args) {
  if (is_pixel_product(args)) return fused_pixel_product(args);
  const ConvShape shape = conv_shape(args);
  if (!at::GradMode::is_enabled()) {
    return forward_of(shape, args.x, args.weight, {args.bias, args.residual, args.residual_bias});
  }
  return Conv2d::apply(args.x, args.weight, if_defined(args.bias), if_defined(args.residual),
                       if_defined(args.residual_bias), shape);
}

}  // namespace ddpm::cuda
