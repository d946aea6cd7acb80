#include "ddpm/kernels/cpu/group_norm_silu_function.h"

#include <ATen/ATen.h>
#include <ATen/Parallel.h>
#include <ATen/core/grad_mode.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>

#include "ddpm/kernels/cpu/group_norm_silu_kernels.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cpu {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

// Fewer elements than these are not worth waking a thread for.
constexpr int64_t kElementsPerThread = 1 << 13;

enum Input { kX, kWeight, kBias, kTimeEmbedding, kScale, kShift, kNumInputs };

int64_t row_stride(const Tensor& table) { return table.defined() ? table.stride(0) : 0; }

GroupNormShape shape_of(const Tensor& x, int64_t groups, double eps, bool silu) {
  return {.images = x.size(0),
          .pixels = x.size(2) * x.size(3),
          .channels = x.size(1),
          .groups = groups,
          .eps = static_cast<float>(eps),
          .silu = silu,
          .bf16 = x.scalar_type() == at::kBFloat16};
}

GroupNormTensors tensors_of(const variable_list& inputs, const Tensor& mean, const Tensor& rstd) {
  return {.x = data_of(inputs[kX]),
          .weight = data_of(inputs[kWeight]),
          .bias = data_of(inputs[kBias]),
          .time_embedding = data_of(inputs[kTimeEmbedding]),
          .scale = data_of(inputs[kScale]),
          .shift = data_of(inputs[kShift]),
          .time_embedding_stride = row_stride(inputs[kTimeEmbedding]),
          .scale_stride = row_stride(inputs[kScale]),
          .shift_stride = row_stride(inputs[kShift]),
          .mean = mean.mutable_data_ptr<float>(),
          .rstd = rstd.mutable_data_ptr<float>()};
}

template <typename Run>
void run_tasks(const GroupNormShape& shape, const Run& run) {
  const int64_t tasks = group_norm_silu_tasks(shape);
  const int64_t elements =
      shape.images * shape.pixels * shape.channels / std::max<int64_t>(1, tasks);
  const int64_t tasks_per_thread = 1 + kElementsPerThread / std::max<int64_t>(1, elements);
  at::parallel_for(0, tasks, tasks_per_thread, run);
}

/// Means and reciprocal standard deviations of an image's groups.
struct Statistics {
  Tensor mean, rstd;

  Statistics(const Tensor& x, const GroupNormShape& shape) {
    const auto numbers = x.options().dtype(at::kFloat).memory_format(std::nullopt);
    mean = at::empty({shape.images, shape.groups}, numbers);
    rstd = at::empty_like(mean);
  }
};

Statistics run_forward(const variable_list& inputs, const GroupNormShape& shape,
                       const NormedMap& y) {
  Statistics statistics(inputs[kX], shape);
  const GroupNormTensors tensors = tensors_of(inputs, statistics.mean, statistics.rstd);
  run_tasks(shape, [&](int64_t begin, int64_t end) {
    group_norm_silu_forward(shape, tensors, y, begin, end);
  });
  return statistics;
}

/// In the order of Input.
variable_list dense_inputs(const GroupNormSiluArgs& args) {
  return {args.x.contiguous(at::MemoryFormat::ChannelsLast),
          args.weight.contiguous(),
          args.bias.contiguous(),
          with_dense_rows(args.time_embedding),
          with_dense_rows(args.scale),
          with_dense_rows(args.shift)};
}

class GroupNormSilu : public torch::autograd::Function<GroupNormSilu> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const Tensor& bias, const std::optional<Tensor>& time_embedding,
                        const std::optional<Tensor>& scale, const std::optional<Tensor>& shift,
                        int64_t groups, double eps, bool silu) {
    variable_list saved{x,
                        weight,
                        bias,
                        time_embedding.value_or(Tensor()),
                        scale.value_or(Tensor()),
                        shift.value_or(Tensor())};
    const Tensor y = at::empty_like(x);
    const Statistics statistics =
        run_forward(saved, shape_of(x, groups, eps, silu), {.y = y.mutable_data_ptr()});
    saved.insert(saved.end(), {statistics.mean, statistics.rstd});
    ctx->save_for_backward(saved);
    ctx->saved_data["groups"] = groups;
    ctx->saved_data["eps"] = eps;
    ctx->saved_data["silu"] = silu;
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_outputs) {
    const variable_list inputs = ctx->get_saved_variables();
    const Tensor& x = inputs[kX];
    const Tensor d_y = d_outputs[0].contiguous(at::MemoryFormat::ChannelsLast);
    const auto shape =
        shape_of(x, ctx->saved_data["groups"].toInt(), ctx->saved_data["eps"].toDouble(),
                 ctx->saved_data["silu"].toBool());
    variable_list d_inputs(kNumInputs + 3);  // groups, eps and silu have none
    d_inputs[kX] = at::empty_like(x);
    for (size_t input = kTimeEmbedding; input < kNumInputs; ++input) {
      if (inputs[input].defined())
        d_inputs[input] = at::empty({x.size(0), x.size(1)}, inputs[input].options());
    }
    const Tensor shares = at::empty({2, x.size(0), x.size(1)}, inputs[kNumInputs].options());
    const GroupNormTensors tensors = tensors_of(inputs, inputs[kNumInputs], inputs[kNumInputs + 1]);
    const GroupNormGradients gradients{.d_y = data_of(d_y),
                                       .d_x = room_of(d_inputs[kX]),
                                       .d_time_embedding = room_of(d_inputs[kTimeEmbedding]),
                                       .d_scale = room_of(d_inputs[kScale]),
                                       .d_shift = room_of(d_inputs[kShift]),
                                       .d_weight = shares[0].mutable_data_ptr<float>(),
                                       .d_bias = shares[1].mutable_data_ptr<float>()};
    run_tasks(shape, [&](int64_t begin, int64_t end) {
      group_norm_silu_backward(shape, tensors, gradients, begin, end);
    });
    const Tensor d_affine = shares.sum(/*dim=*/1).to(x.scalar_type());
    d_inputs[kWeight] = d_affine[0];
    d_inputs[kBias] = d_affine[1];
    return d_inputs;
  }
};

}  // namespace

bool group_norm_silu_is_fused(const GroupNormSiluArgs& args) {
  const Tensor& x = args.x;
  const bool is_kept = x.scalar_type() == at::kBFloat16 || x.scalar_type() == at::kFloat;
  if (!x.is_cpu() || !is_kept || x.numel() == 0) return false;
  for (const Tensor* other :
       {&args.weight, &args.bias, &args.time_embedding, &args.scale, &args.shift}) {
    if (other->defined() && other->scalar_type() != x.scalar_type()) return false;
  }
  return true;
}

Tensor fused_group_norm_silu(const GroupNormSiluArgs& args) {
  const variable_list inputs = dense_inputs(args);
  if (!at::GradMode::is_enabled()) {
    const Tensor y = at::empty_like(inputs[kX]);
    run_forward(inputs, shape_of(inputs[kX], args.num_groups, args.eps, args.silu),
                {.y = y.mutable_data_ptr()});
    return y;
  }
  return GroupNormSilu::apply(inputs[kX], inputs[kWeight], inputs[kBias],
                              if_defined(inputs[kTimeEmbedding]), if_defined(inputs[kScale]),
                              if_defined(inputs[kShift]), args.num_groups, args.eps, args.silu);
}

Tensor padded_group_norm_silu(const GroupNormSiluArgs& args, int64_t padding, int64_t beside) {
  const variable_list inputs = dense_inputs(args);
  const Tensor& x = inputs[kX];
  const Tensor y = at::empty(
      {x.size(0) / beside, x.size(2) + 2 * padding, x.size(3) + 2 * padding, beside, x.size(1)},
      x.options().memory_format(std::nullopt));
  run_forward(
      inputs, shape_of(x, args.num_groups, args.eps, args.silu),
      {.y = y.mutable_data_ptr(), .padding = padding, .width = x.size(3), .beside = beside});
  return y;
}

}  // namespace ddpm::cpu
