#include "ddpm/kernels/cuda/padded_conv2d_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <tuple>

#include "ddpm/kernels/cuda/conv2d_function.h"
#include "ddpm/kernels/cuda/conv2d_gradients.h"
#include "ddpm/kernels/cuda/conv2d_warpgroup_kernels.h"
#include "ddpm/kernels/cuda/map_part_sums.h"
#include "ddpm/kernels/cuda/map_sums.h"
#include "ddpm/kernels/cuda/pad_function.h"
#include "ddpm/kernels/cuda/side_stream.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr std::array<int64_t, 2> kStride{2, 2}, kNoPadding{0, 0}, kWidePadding{2, 2}, kOnes{1, 1};
constexpr int64_t kPaddedKernel = 3;  // of the kernel

/// Of the padded map's side.
int64_t result_side(int64_t side) { return (side + 1 - kPaddedKernel) / 2 + 1; }

/// Of x or of the weight, by ATen.
std::tuple<Tensor, Tensor, Tensor> differentiate(const Tensor& d_y, const Tensor& x,
                                                 const Tensor& weight,
                                                 const std::array<int64_t, 2>& padding, bool of_x) {
  return at::convolution_backward(d_y, x, weight, /*bias_sizes=*/std::nullopt, kStride, padding,
                                  /*dilation=*/kOnes, /*transposed=*/false,
                                  /*output_padding=*/kNoPadding, /*groups=*/1,
                                  {of_x, !of_x, false});
}

WarpgroupConv gradient_shape(const Tensor& x, const Tensor& weight) {
  return {.images = static_cast<int>(x.size(0)),
          .height = static_cast<int>(x.size(2)),
          .width = static_cast<int>(x.size(3)),
          .channels = static_cast<int>(weight.size(0)),
          .out_channels = static_cast<int>(weight.size(1)),
          .transposed = true};
}

/// Of x, with d_again.
Tensor map_gradient(const Tensor& d_y, const Tensor& d_again, const Tensor& x,
                    const Tensor& weight) {
  if (const WarpgroupConv conv = gradient_shape(x, weight); is_warpgroup_conv(conv)) {
    return turned_warpgroup_conv2d(conv, d_y, weight, channels_last(d_again));
  }
  // The padded map itself is not needed, its sizes are.
  const Tensor padded = at::empty({x.size(0), x.size(1), x.size(2) + 1, x.size(3) + 1},
                                  x.options().memory_format(at::MemoryFormat::ChannelsLast));
  const Tensor d_padded =
      std::get<0>(differentiate(d_y, padded, weight, kNoPadding, /*of_x=*/true));
  return cut_right_and_bottom(d_padded, d_again);
}

Tensor weight_gradient(const Tensor& d_y, const Tensor& x, const Tensor& weight) {
  return std::get<1>(differentiate(pad_left_and_top(d_y), x, weight, kWidePadding, /*of_x=*/false));
}

class PaddedConv2d : public torch::autograd::Function<PaddedConv2d> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                               const Tensor& bias) {
    ctx->set_materialize_grads(false);
    ctx->save_for_backward({x, weight});
    ctx->saved_data["leaves"] = are_leaves({weight, bias});
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor wide =
        at::convolution(x, weight, /*bias=*/{}, kStride, kWidePadding, /*dilation=*/kOnes,
                        /*transposed=*/false, /*output_padding=*/kNoPadding, /*groups=*/1);
    return {inner_map_with_bias(channels_last(wide), result_side(x.size(2)), result_side(x.size(3)),
                                bias),
            x.detach()};
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_outputs) {
    enum Input { kX, kWeight, kBias, kNumInputs };
    variable_list d_inputs(kNumInputs);
    d_inputs[kX] = d_outputs[1];
    if (!d_outputs[0].defined()) return d_inputs;
    const variable_list saved = ctx->get_saved_variables();
    const Tensor &x = saved[kX], &weight = saved[kWeight];
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor d_y = channels_last(d_outputs[0]);
    if (ctx->needs_input_grad(kX)) d_inputs[kX] = map_gradient(d_y, d_outputs[1], x, weight);
    if (ctx->needs_input_grad(kWeight)) {
      run_beside({d_y, x}, [&] {
        d_inputs[kWeight] = in_strides_of(weight, weight_gradient(d_y, x, weight));
      });
    }
    give_sums_of_pixels(d_y, {ctx->needs_input_grad(kBias) ? &d_inputs[kBias] : nullptr});
    if (!ctx->saved_data["leaves"].toBool()) join_beside();
    return d_inputs;
  }
};

}  // namespace

bool padded_conv2d_is_fused(const Conv2dArgs& args) {
  return conv2d_is_fused(args) && args.x.scalar_type() == at::kBFloat16 && args.padded &&
         args.bias.defined() && args.norm == nullptr && args.shortcut == nullptr &&
         !args.x_rest.defined() && !args.residual.defined() && !args.residual_bias.defined() &&
         !args.image_bias.defined() && !args.transposed && !args.upsampled && args.stride == 2 &&
         args.padding == 0 && args.weight.size(2) == kPaddedKernel &&
         args.weight.size(3) == kPaddedKernel && args.x.size(2) % 2 == 0 &&
         args.x.size(3) % 2 == 0 && pad_is_fused(args.x) && args.weight.size(0) % 8 == 0 &&
         args.weight.size(0) <= 2048;
}

Conv2dFork fused_padded_conv2d(const Conv2dArgs& args) {
  const variable_list outputs = PaddedConv2d::apply(channels_last(args.x), args.weight, args.bias);
  return {.y = outputs[0], .x = outputs[1], .x_rest = {}};
}

}  // namespace ddpm::cuda
