#include "ddpm/kernels/cuda/pixel_product_function.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ddpm/kernels/cuda/map_sums.h"
#include "ddpm/kernels/cuda/side_stream.h"
#include "ddpm/kernels/map_rows.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// The weight [O, C + C'] of x and of x_rest.
struct ProductWeights {
  Tensor whole, main, rest;

  ProductWeights(const Tensor& weight, const Tensor& x, const Tensor& x_rest)
      : whole(weight.reshape({weight.size(0), weight.size(1)})), main(whole) {
    if (!x_rest.defined()) return;
    main = whole.narrow(/*dim=*/1, 0, x.size(1));
    rest = whole.narrow(/*dim=*/1, x.size(1), x_rest.size(1));
  }
};

Tensor forward_product(const Tensor& x, const Tensor& x_rest, const Tensor& weight,
                       const Tensor& bias, const Tensor& residual) {
  const c10::cuda::CUDAGuard guard(x.device());
  const ProductWeights weights(weight, x, x_rest);
  const bool bias_in_product = bias.defined() && !residual.defined();
  Tensor rows = bias_in_product ? at::addmm(bias, rows_of(x), weights.main.t())
                                : at::mm(rows_of(x), weights.main.t());
  if (x_rest.defined()) rows.addmm_(rows_of(x_rest), weights.rest.t());
  const Tensor y = map_of(rows, x);
  if (residual.defined()) add_to_map(y, bias, residual);
  return y;
}

class PixelProduct : public torch::autograd::Function<PixelProduct> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const std::optional<Tensor>& x_rest, const std::optional<Tensor>& bias,
                        const std::optional<Tensor>& residual) {
    ctx->save_for_backward({x, weight, x_rest.value_or(Tensor())});
    ctx->saved_data["has_bias"] = bias.has_value();
    ctx->saved_data["has_residual"] = residual.has_value();
    ctx->saved_data["leaves"] = are_leaves({weight, bias.value_or(Tensor())});
    return forward_product(x, x_rest.value_or(Tensor()), weight, bias.value_or(Tensor()),
                           residual.value_or(Tensor()));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_outputs) {
    enum ProductInput { kX, kWeight, kXRest, kBias, kResidual, kNumInputs };
    const variable_list saved = ctx->get_saved_variables();
    const c10::cuda::CUDAGuard guard(saved[kX].device());
    const Tensor d_y = d_outputs[0].contiguous(at::MemoryFormat::ChannelsLast);
    size_t edge = kXRest;  // autograd numbers the inputs that are there
    const bool needs_rest = saved[kXRest].defined() && ctx->needs_input_grad(edge++);
    const PixelProductGradients gradients = pixel_product_gradients(
        d_y, {.x = saved[kX], .x_rest = saved[kXRest], .weight = saved[kWeight]},
        {ctx->needs_input_grad(kX), needs_rest, ctx->needs_input_grad(kWeight)});
    variable_list d_inputs(kNumInputs);
    d_inputs[kX] = gradients.x;
    d_inputs[kWeight] = gradients.weight;
    d_inputs[kXRest] = gradients.x_rest;
    const bool needs_bias = ctx->saved_data["has_bias"].toBool() && ctx->needs_input_grad(edge++);
    give_sums_of_pixels(d_y, {needs_bias ? &d_inputs[kBias] : nullptr});
    if (ctx->saved_data["has_residual"].toBool()) d_inputs[kResidual] = d_outputs[0];
    if (!ctx->saved_data["leaves"].toBool()) join_beside();
    return d_inputs;
  }
};

}  // namespace

PixelProductGradients pixel_product_gradients(const Tensor& d_y, const Conv2dArgs& product,
                                              const std::array<bool, 3>& wanted) {
  const Tensor& x = product.x;
  const Tensor& x_rest = product.x_rest;
  const ProductWeights weights(product.weight, x, x_rest);
  const Tensor d_rows = rows_of(d_y);
  const auto [needs_x, needs_rest, needs_weight] = wanted;
  PixelProductGradients gradients;
  if (needs_x) gradients.x = map_of(at::mm(d_rows, weights.main), x);
  if (needs_rest) gradients.x_rest = map_of(at::mm(d_rows, weights.rest), x);
  keep_product_sums(d_y, weights.whole, gradients.x, gradients.x_rest);
  if (needs_weight) {
    run_beside({d_y, x, x_rest}, [&] {
      ProductWeights d_weights(at::empty_like(product.weight), x, x_rest);
      at::mm_out(d_weights.main, d_rows.t(), rows_of(x));
      if (x_rest.defined()) at::mm_out(d_weights.rest, d_rows.t(), rows_of(x_rest));
      gradients.weight = d_weights.whole.view(product.weight.sizes());
    });
  }
  return gradients;
}

bool is_pixel_product(const Conv2dArgs& args) {
  return !args.transposed && args.stride == 1 && args.padding == 0 && args.weight.size(2) == 1 &&
         args.weight.size(3) == 1;
}

Tensor fused_pixel_product(const Conv2dArgs& args) {
  const Tensor x = args.x.contiguous(at::MemoryFormat::ChannelsLast);
  const Tensor x_rest = channels_last(args.x_rest);
  if (!at::GradMode::is_enabled()) {
    return forward_product(x, x_rest, args.weight, args.bias, args.residual);
  }
  return PixelProduct::apply(x, args.weight, if_defined(x_rest), if_defined(args.bias),
                             if_defined(args.residual));
}

}  // namespace ddpm::cuda
