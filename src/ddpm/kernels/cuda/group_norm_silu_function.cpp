#include "ddpm/kernels/cuda/group_norm_silu_function.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <ATen/cuda/CUDAGeneratorImpl.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/autograd/custom_function.h>

#include <mutex>

#include "ddpm/kernels/cuda/group_norm_silu_gradients.h"
#include "ddpm/kernels/cuda/group_norm_silu_kernels.h"
#include "ddpm/kernels/cuda/side_stream.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

enum Input { kX, kWeight, kBias, kTimeEmbedding, kScale, kShift, kXRest, kNumInputs };
enum Saved { kMean = kNumInputs, kRstd, kKept };

constexpr uint64_t kDraws = 4;  // of an element: the generator counts in fours

/// What a norm is besides its tensors.
struct NormOptions {
  int64_t groups;
  double eps;
  bool silu;
  double dropout;
};

GroupNormShape shape_of(const Tensor& x, const Tensor& x_rest, const NormOptions& options) {
  const int64_t rest_channels = x_rest.defined() ? x_rest.size(1) : 0;
  return {.images = static_cast<int>(x.size(0)),
          .pixels = static_cast<int>(x.size(2) * x.size(3)),
          .channels = static_cast<int>(x.size(1) + rest_channels),
          .groups = static_cast<int>(options.groups),
          .eps = static_cast<float>(options.eps),
          .silu = options.silu,
          .bf16 = x.scalar_type() == at::kBFloat16,
          .rest_channels = static_cast<int>(rest_channels),
          .dropout = static_cast<float>(options.dropout)};
}

GroupNormTensors tensors_of(const variable_list& inputs) {
  GroupNormTensors tensors;
  tensors.x = data_of(inputs[kX]);
  tensors.x_rest = data_of(inputs[kXRest]);
  tensors.weight = data_of(inputs[kWeight]);
  tensors.bias = data_of(inputs[kBias]);
  tensors.time_embedding = data_of(inputs[kTimeEmbedding]);
  tensors.scale = data_of(inputs[kScale]);
  tensors.shift = data_of(inputs[kShift]);
  if (inputs[kTimeEmbedding].defined()) {
    tensors.time_embedding_stride = inputs[kTimeEmbedding].stride(0);
  }
  if (inputs[kScale].defined()) tensors.scale_stride = inputs[kScale].stride(0);
  return tensors;
}

/// The next place in the default generator's stream; in a captured graph, one that moves on with
/// every replay.
RandomPlace next_random_place(const at::Device& device) {
  auto* generator = at::get_generator_or_default<at::CUDAGeneratorImpl>(
      std::nullopt, at::cuda::detail::getDefaultCUDAGenerator(device.index()));
  at::PhiloxCudaState state;
  {
    const std::lock_guard<std::mutex> lock(generator->mutex_);
    state = generator->philox_cuda_state(kDraws);
  }
  if (!state.captured_) return {.seed = state.seed_.val, .offset = state.offset_.val};
  return {.offset = state.offset_intragraph_,
          .seed_on_device = reinterpret_cast<const int64_t*>(state.seed_.ptr),
          .offset_on_device = reinterpret_cast<const int64_t*>(state.offset_.ptr)};
}

/// What is kept for the backward pass; undefined where nobody asks for gradients.
struct Statistics {
  Tensor mean, rstd, kept;
};

/// The norm, and its statistics if `saves`.
Tensor run_forward(const variable_list& inputs, const NormOptions& options, bool saves,
                   Statistics& statistics) {
  const Tensor& x = inputs[kX];
  const c10::cuda::CUDAGuard guard(x.device());
  const GroupNormShape shape = shape_of(x, inputs[kXRest], options);
  const auto numbers = x.options().memory_format(std::nullopt).dtype(at::kFloat);
  GroupNormTensors tensors = tensors_of(inputs);
  if (saves) {
    statistics.mean = at::empty({x.size(0), options.groups}, numbers);
    statistics.rstd = at::empty_like(statistics.mean);
    tensors.mean = statistics.mean.mutable_data_ptr<float>();
    tensors.rstd = statistics.rstd.mutable_data_ptr<float>();
  }
  if (options.dropout > 0) {
    statistics.kept =
        at::empty({x.size(0), shape.pixels, shape.channels / 8}, numbers.dtype(at::kByte));
    tensors.kept = statistics.kept.mutable_data_ptr<uint8_t>();
    tensors.random = next_random_place(x.device());
  }
  Tensor y = at::empty({x.size(0), shape.channels, x.size(2), x.size(3)},
                       x.options().memory_format(at::MemoryFormat::ChannelsLast));
  const bool clusters = group_norm_silu_clusters(shape) && !group_norm_silu_suits_blocks(shape);
  const auto launch = clusters ? group_norm_silu_cluster_forward : group_norm_silu_forward;
  C10_CUDA_CHECK(launch(shape, tensors, y.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream()));
  return y;
}

class GroupNormSilu : public torch::autograd::Function<GroupNormSilu> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                               const Tensor& bias, const std::optional<Tensor>& time_embedding,
                               const std::optional<Tensor>& scale,
                               const std::optional<Tensor>& shift,
                               const std::optional<Tensor>& x_rest, const NormOptions& options) {
    const auto or_none = [](const std::optional<Tensor>& tensor) {
      return tensor.value_or(Tensor());
    };
    variable_list saved{
        x, weight, bias, or_none(time_embedding), or_none(scale), or_none(shift), or_none(x_rest)};
    Statistics statistics;
    const Tensor y = run_forward(saved, options, /*saves=*/true, statistics);
    saved.insert(saved.end(), {statistics.mean, statistics.rstd, statistics.kept});
    ctx->save_for_backward(saved);
    ctx->set_materialize_grads(false);
    ctx->saved_data["groups"] = options.groups;
    ctx->saved_data["eps"] = options.eps;
    ctx->saved_data["silu"] = options.silu;
    ctx->saved_data["dropout"] = options.dropout;
    ctx->saved_data["leaves"] = are_leaves({weight, bias});
    return fork_outputs(y, x, saved[kXRest]);
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_outputs) {
    const variable_list inputs = ctx->get_saved_variables();
    const Tensor& x = inputs[kX];
    const c10::cuda::CUDAGuard guard(x.device());
    const NormOptions options{.groups = ctx->saved_data["groups"].toInt(),
                              .eps = ctx->saved_data["eps"].toDouble(),
                              .silu = ctx->saved_data["silu"].toBool(),
                              .dropout = ctx->saved_data["dropout"].toDouble()};
    const GroupNormShape shape = shape_of(x, inputs[kXRest], options);
    variable_list d_inputs(kNumInputs + 1);  // the options have none
    size_t edge = 0;                         // autograd numbers the inputs that are there
    for (size_t input = kX; input < kNumInputs; ++input) {
      if (!inputs[input].defined()) continue;
      const bool is_map = input == kX || input == kXRest;
      if (is_map) d_inputs[input] = at::empty_like(inputs[input]);
      if (!is_map && ctx->needs_input_grad(edge)) {
        d_inputs[input] = at::empty(inputs[input].sizes(), inputs[input].options());
      }
      ++edge;
    }
    const Tensor d_y = channels_last(
        d_outputs[kForkResult].defined()
            ? d_outputs[kForkResult]
            : at::zeros({x.size(0), shape.channels, x.size(2), x.size(3)}, x.options()));
    run_backward(shape, inputs, d_y, d_outputs, d_inputs);
    if (!ctx->saved_data["leaves"].toBool()) join_beside();
    return d_inputs;
  }

 private:
  static void run_backward(const GroupNormShape& shape, const variable_list& inputs,
                           const Tensor& d_y, const variable_list& d_outputs,
                           const variable_list& d_inputs) {
    GroupNormTensors tensors = tensors_of(inputs);
    tensors.mean = inputs[kMean].mutable_data_ptr<float>();
    tensors.rstd = inputs[kRstd].mutable_data_ptr<float>();
    if (inputs[kKept].defined()) tensors.kept = inputs[kKept].mutable_data_ptr<uint8_t>();
    const GroupNormGradients gradients{.d_y = data_of(d_y),
                                       .d_time_embedding = room_of(d_inputs[kTimeEmbedding]),
                                       .d_scale = room_of(d_inputs[kScale]),
                                       .d_shift = room_of(d_inputs[kShift]),
                                       .d_weight = room_of(d_inputs[kWeight]),
                                       .d_bias = room_of(d_inputs[kBias])};
    run_norm_backward(shape, tensors, gradients, {d_inputs[kX], d_inputs[kXRest], d_outputs});
  }
};

}  // namespace

bool group_norm_silu_is_fused(const GroupNormSiluArgs& args, const Tensor& x_rest) {
  const Tensor& x = args.x;
  if (!x.is_cuda() || (x.scalar_type() != at::kBFloat16 && x.scalar_type() != at::kFloat)) {
    return false;
  }
  for (const Tensor* other :
       {&args.weight, &args.bias, &args.time_embedding, &args.scale, &args.shift, &x_rest}) {
    if (other->defined() && other->scalar_type() != x.scalar_type()) return false;
  }
  const bool drops = args.training && args.dropout > 0;
  const c10::cuda::CUDAGuard guard(x.device());
  const GroupNormShape shape = shape_of(
      x, x_rest,
      {args.num_groups, args.eps, args.silu, drops && args.dropout < 1 ? args.dropout : 0});
  if (drops && (!args.silu || args.dropout >= 1)) return false;
  return group_norm_silu_clusters(shape) ||
         (!x_rest.defined() && !drops && group_norm_silu_fits(shape));
}

GroupNormFork fused_group_norm_silu(const GroupNormSiluArgs& args, const Tensor& x_rest) {
  const NormOptions options{.groups = args.num_groups,
                            .eps = args.eps,
                            .silu = args.silu,
                            .dropout = args.training ? args.dropout : 0};
  const variable_list inputs{channels_last(args.x),
                             args.weight,
                             args.bias,
                             with_dense_rows(args.time_embedding),
                             with_dense_rows(args.scale),
                             with_dense_rows(args.shift),
                             channels_last(x_rest)};
  if (!at::GradMode::is_enabled()) {
    Statistics statistics;
    return {run_forward(inputs, options, /*saves=*/false, statistics), inputs[kX], inputs[kXRest],
            inputs[kX]};
  }
  const variable_list outputs = GroupNormSilu::apply(
      inputs[kX], args.weight, args.bias, if_defined(inputs[kTimeEmbedding]),
      if_defined(inputs[kScale]), if_defined(inputs[kShift]), if_defined(inputs[kXRest]), options);
  return {outputs[kForkResult], outputs[kForkX], x_rest.defined() ? outputs[kForkXRest] : Tensor(),
          outputs[kForkXLater]};
}

}  // namespace ddpm::cuda
