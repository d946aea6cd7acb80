#include "ddpm/kernels/cuda/norm_conv2d_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAGuard.h>
#include <torch/csrc/autograd/custom_function.h>

#include <array>
#include <utility>

#include "ddpm/kernels/cuda/conv2d_few_channels_function.h"
#include "ddpm/kernels/cuda/conv2d_gradients.h"
#include "ddpm/kernels/cuda/conv2d_warpgroup_function.h"
#include "ddpm/kernels/cuda/group_norm_silu_gradients.h"
#include "ddpm/kernels/cuda/group_norm_silu_kernels.h"
#include "ddpm/kernels/cuda/map_sums.h"
#include "ddpm/kernels/cuda/norm_conv2d_inputs.h"
#include "ddpm/kernels/cuda/pixel_product_function.h"
#include "ddpm/kernels/cuda/side_stream.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

enum NormConvSaved { kNormMean = kNumKept, kNormRstd };

/// What it is besides its tensors.
struct NormConvOptions {
  int64_t groups;
  double eps;
  int64_t given;  ///< A bit for each NormConvInput: autograd takes no undefined tensor.
};

bool is_given(int64_t bits, size_t input) { return (bits >> input & 1) != 0; }

Tensor run_norm_conv(const variable_list& inputs, const NormConvOptions& options,
                     NormStatistics& statistics) {
  const GroupNormSiluArgs norm{.x = inputs[kMap],
                               .num_groups = options.groups,
                               .weight = inputs[kNormWeight],
                               .bias = inputs[kNormBias],
                               .eps = options.eps,
                               .time_embedding = inputs[kNormTime],
                               .scale = inputs[kNormScale],
                               .shift = inputs[kNormShift]};
  const Conv2dArgs side = side_of(inputs);
  const Conv2dArgs args{.x = inputs[kMap],
                        .x_rest = inputs[kMapRest],
                        .weight = inputs[kConvWeight],
                        .bias = inputs[kConvBias],
                        .residual = inputs[kConvResidual],
                        .residual_bias = inputs[kConvResidualBias],
                        .padding = 1,
                        .shortcut = side.x.defined() ? &side : nullptr,
                        .norm = &norm};
  return fits_few_channels_conv2d(args) ? few_channels_conv2d(args, &statistics)
                                        : warpgroup_conv2d(args, &statistics);
}

GroupNormShape norm_shape(const Tensor& x, const Tensor& x_rest, int64_t groups) {
  const int64_t rest_channels = x_rest.defined() ? x_rest.size(1) : 0;
  return {.images = static_cast<int>(x.size(0)),
          .pixels = static_cast<int>(x.size(2) * x.size(3)),
          .channels = static_cast<int>(x.size(1) + rest_channels),
          .groups = static_cast<int>(groups),
          .bf16 = true,
          .rest_channels = static_cast<int>(rest_channels)};
}

GroupNormTensors norm_tensors(const variable_list& saved) {
  const auto stride = [&](size_t input) {
    return saved[input].defined() ? saved[input].stride(0) : 0;
  };
  return {.x = data_of(saved[kMap]),
          .x_rest = data_of(saved[kMapRest]),
          .weight = data_of(saved[kNormWeight]),
          .bias = data_of(saved[kNormBias]),
          .time_embedding = data_of(saved[kNormTime]),
          .scale = data_of(saved[kNormScale]),
          .shift = data_of(saved[kNormShift]),
          .time_embedding_stride = stride(kNormTime),
          .scale_stride = stride(kNormScale),
          .mean = saved[kNormMean].mutable_data_ptr<float>(),
          .rstd = saved[kNormRstd].mutable_data_ptr<float>(),
          .random = {}};
}

/// What the norm gives, in one map or in two.
struct NormedMaps {
  Tensor whole, rest;

  NormedMaps() = default;
  NormedMaps(const Tensor& d_normed, const Tensor& x, const Tensor& x_rest, bool in_parts)
      : whole(at::empty_like(in_parts ? x : d_normed)),
        rest(in_parts ? at::empty_like(x_rest) : Tensor()) {}
};

using Wanted = std::array<bool, kNumNormConvInputs>;

class NormConv2d : public torch::autograd::Function<NormConv2d> {
 public:
  static variable_list forward(AutogradContext* ctx, const NormConvOptions& options,
                               at::TensorList present) {
    variable_list inputs(kNumNormConvInputs);
    for (size_t input = 0, edge = 0; input < kNumNormConvInputs; ++input) {
      if (is_given(options.given, input)) inputs[input] = present[edge++];
    }
    NormStatistics statistics;
    const Tensor y = run_norm_conv(inputs, options, statistics);
    variable_list saved(inputs.begin(), inputs.begin() + kNumKept);
    saved.insert(saved.end(), {statistics.mean, statistics.rstd});
    ctx->save_for_backward(saved);
    ctx->set_materialize_grads(false);
    ctx->saved_data["groups"] = options.groups;
    ctx->saved_data["given"] = options.given;
    ctx->saved_data["leaves"] =
        are_leaves({inputs[kNormWeight], inputs[kNormBias], inputs[kConvWeight],
                    inputs[kSideWeight], inputs[kConvBias], inputs[kConvResidualBias]});
    return fork_outputs(y, inputs[kMap], inputs[kMapRest]);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_outputs) {
    const variable_list saved = ctx->get_saved_variables();
    const c10::cuda::CUDAGuard guard(saved[kMap].device());
    const int64_t given = ctx->saved_data["given"].toInt();
    Wanted wanted{};
    for (size_t input = 0, edge = 0; input < kNumNormConvInputs; ++input) {
      wanted[input] = is_given(given, input) && ctx->needs_input_grad(edge++);
    }
    variable_list d_inputs(kNumNormConvInputs);
    const Tensor d_y = channels_last(d_outputs[kForkResult].defined() ? d_outputs[kForkResult]
                                                                      : zero_gradient(saved));
    run_backward(saved, norm_shape(saved[kMap], saved[kMapRest], ctx->saved_data["groups"].toInt()),
                 wanted, d_y, d_outputs, d_inputs);
    // Before the products of d_y, whose sums follow from its own.
    give_sums_of_pixels(d_y, {wanted[kConvBias] ? &d_inputs[kConvBias] : nullptr,
                              wanted[kConvResidualBias] ? &d_inputs[kConvResidualBias] : nullptr});
    if (saved[kSide].defined()) {
      const PixelProductGradients side = pixel_product_gradients(
          d_y, side_of(saved), {wanted[kSide], wanted[kSideRest], wanted[kSideWeight]});
      d_inputs[kSide] = side.x;
      d_inputs[kSideRest] = side.x_rest;
      d_inputs[kSideWeight] = side.weight;
    }
    if (wanted[kConvResidual]) d_inputs[kConvResidual] = d_outputs[kForkResult];
    if (!ctx->saved_data["leaves"].toBool()) join_beside();
    variable_list d_arguments{Tensor()};  // the options have none
    for (size_t input = 0; input < kNumNormConvInputs; ++input) {
      if (is_given(given, input)) d_arguments.push_back(d_inputs[input]);
    }
    return d_arguments;
  }

 private:
  static Tensor zero_gradient(const variable_list& saved) {
    const Tensor& x = saved[kMap];
    return at::zeros({x.size(0), saved[kConvWeight].size(0), x.size(2), x.size(3)}, x.options());
  }

  /// Of the norm's inputs and of the weight.
  static void run_backward(const variable_list& saved, const GroupNormShape& shape,
                           const Wanted& wanted, const Tensor& d_y, const variable_list& d_outputs,
                           variable_list& d_inputs) {
    const Tensor& weight = saved[kConvWeight];
    const Tensor d_normed = conv2d_input_gradient(d_y, weight);
    const bool in_parts = saved[kMapRest].defined() && prefers_map_in_parts(d_y);
    NormedMaps normed;
    if (wanted[kConvWeight]) normed = NormedMaps(d_normed, saved[kMap], saved[kMapRest], in_parts);
    for (const size_t input : {kNormWeight, kNormBias, kNormTime, kNormScale, kNormShift}) {
      if (!wanted[input]) continue;
      d_inputs[input] = at::empty(saved[input].sizes(), saved[input].options());
    }
    for (const size_t input : {kMap, kMapRest}) {
      if (saved[input].defined()) d_inputs[input] = at::empty_like(saved[input]);
    }
    const GroupNormGradients gradients{.d_y = data_of(d_normed),
                                       .d_time_embedding = room_of(d_inputs[kNormTime]),
                                       .d_scale = room_of(d_inputs[kNormScale]),
                                       .d_shift = room_of(d_inputs[kNormShift]),
                                       .d_weight = room_of(d_inputs[kNormWeight]),
                                       .d_bias = room_of(d_inputs[kNormBias]),
                                       .y = room_of(normed.whole),
                                       .y_rest = room_of(normed.rest)};
    run_norm_backward(shape, norm_tensors(saved), gradients,
                      {d_inputs[kMap], d_inputs[kMapRest], d_outputs});
    if (wanted[kConvWeight]) {
      run_beside({d_y, normed.whole, normed.rest}, [&] {
        d_inputs[kConvWeight] =
            in_strides_of(weight, conv2d_weight_gradient(d_y, normed.whole, normed.rest, weight));
      });
    }
  }
};

}  // namespace

bool norm_conv2d_is_fused(const Conv2dArgs& args) {
  Conv2dArgs alone = args;
  alone.shortcut = nullptr;
  if (args.norm == nullptr || args.image_bias.defined()) return false;
  if (!is_warpgroup_conv2d(alone) && !fits_few_channels_conv2d(args)) return false;
  const c10::cuda::CUDAGuard guard(args.x.device());
  return group_norm_silu_clusters(norm_shape(args.x, args.x_rest, args.norm->num_groups));
}

Conv2dFork fused_norm_conv2d(const Conv2dArgs& args) {
  Conv2dArgs alone = args;
  if (args.shortcut != nullptr && !is_warpgroup_conv2d(args)) {
    alone.residual = conv2d(*std::exchange(alone.shortcut, nullptr));
  }
  const variable_list inputs = norm_conv_inputs(alone);
  NormConvOptions options{.groups = args.norm->num_groups, .eps = args.norm->eps, .given = 0};
  variable_list present;
  for (size_t input = 0; input < kNumNormConvInputs; ++input) {
    if (!inputs[input].defined()) continue;
    options.given |= int64_t{1} << input;
    present.push_back(inputs[input]);
  }
  const variable_list outputs = NormConv2d::apply(options, at::TensorList(present));
  return {outputs[kForkResult], outputs[kForkX],
          alone.x_rest.defined() ? outputs[kForkXRest] : Tensor(), outputs[kForkXLater]};
}

}  // namespace ddpm::cuda
