#include "ddpm/kernels/cuda/group_norm_silu_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ddpm/kernels/cuda/group_norm_silu_kernels.h"

namespace ddpm::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

enum Input { kX, kWeight, kBias, kTimeEmbedding, kScale, kShift, kNumInputs };

const void* data_of(const Tensor& tensor) {
  return tensor.defined() ? tensor.const_data_ptr() : nullptr;
}
void* room_of(const Tensor& tensor) {
  return tensor.defined() ? tensor.mutable_data_ptr() : nullptr;
}

/// [N, C] with unit stride along C; rows may be strided, as those of a chunk are. Autograd takes no
/// undefined tensor.
std::optional<Tensor> with_dense_rows(const Tensor& table) {
  if (!table.defined()) return std::nullopt;
  return table.stride(1) == 1 ? table : table.contiguous();
}

GroupNormShape shape_of(const Tensor& x, int64_t groups, double eps, bool silu) {
  return {.images = static_cast<int>(x.size(0)),
          .pixels = static_cast<int>(x.size(2) * x.size(3)),
          .channels = static_cast<int>(x.size(1)),
          .groups = static_cast<int>(groups),
          .eps = static_cast<float>(eps),
          .silu = silu,
          .bf16 = x.scalar_type() == at::kBFloat16};
}

GroupNormTensors tensors_of(const variable_list& inputs, const Tensor& mean, const Tensor& rstd) {
  GroupNormTensors tensors;
  tensors.x = data_of(inputs[kX]);
  tensors.weight = data_of(inputs[kWeight]);
  tensors.bias = data_of(inputs[kBias]);
  tensors.time_embedding = data_of(inputs[kTimeEmbedding]);
  tensors.scale = data_of(inputs[kScale]);
  tensors.shift = data_of(inputs[kShift]);
  if (inputs[kTimeEmbedding].defined()) {
    tensors.time_embedding_stride = inputs[kTimeEmbedding].stride(0);
  }
  if (inputs[kScale].defined()) tensors.scale_stride = inputs[kScale].stride(0);
  tensors.mean = mean.mutable_data_ptr<float>();
  tensors.rstd = rstd.mutable_data_ptr<float>();
  return tensors;
}

class GroupNormSilu : public torch::autograd::Function<GroupNormSilu> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const Tensor& weight,
                        const Tensor& bias, const std::optional<Tensor>& time_embedding,
                        const std::optional<Tensor>& scale, const std::optional<Tensor>& shift,
                        int64_t groups, double eps, bool silu) {
    const c10::cuda::CUDAGuard guard(x.device());
    const variable_list inputs{x,
                               weight,
                               bias,
                               time_embedding.value_or(Tensor()),
                               scale.value_or(Tensor()),
                               shift.value_or(Tensor())};
    const auto statistics = x.options().dtype(at::kFloat).memory_format(std::nullopt);
    const Tensor mean = at::empty({x.size(0), groups}, statistics);
    const Tensor rstd = at::empty({x.size(0), groups}, statistics);
    Tensor y = at::empty_like(x);
    C10_CUDA_CHECK(group_norm_silu_forward(shape_of(x, groups, eps, silu),
                                           tensors_of(inputs, mean, rstd), y.mutable_data_ptr(),
                                           c10::cuda::getCurrentCUDAStream()));
    variable_list saved = inputs;
    saved.insert(saved.end(), {mean, rstd});
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
    const c10::cuda::CUDAGuard guard(x.device());
    const Tensor d_x = at::empty_like(x);
    const Tensor sums = at::empty({2, x.size(0), x.size(1)}, inputs[kNumInputs].options());
    variable_list d_inputs(kNumInputs + 3);  // groups, eps and silu have none
    d_inputs[kX] = d_x;
    size_t edge = 0;  // autograd numbers the inputs that are there
    for (size_t input = kX; input < kNumInputs; ++input) {
      if (!inputs[input].defined()) continue;
      if (input != kX && ctx->needs_input_grad(edge)) {
        d_inputs[input] = at::empty(inputs[input].sizes(), inputs[input].options());
      }
      ++edge;
    }
    const GroupNormGradients gradients{.d_y = data_of(d_y),
                                       .d_x = room_of(d_x),
                                       .d_time_embedding = room_of(d_inputs[kTimeEmbedding]),
                                       .d_scale = room_of(d_inputs[kScale]),
                                       .d_shift = room_of(d_inputs[kShift]),
                                       .d_weight = room_of(d_inputs[kWeight]),
                                       .d_bias = room_of(d_inputs[kBias]),
                                       .sums = sums.mutable_data_ptr<float>()};
    const auto shape =
        shape_of(x, ctx->saved_data["groups"].toInt(), ctx->saved_data["eps"].toDouble(),
                 ctx->saved_data["silu"].toBool());
    C10_CUDA_CHECK(group_norm_silu_backward(
        shape, tensors_of(inputs, inputs[kNumInputs], inputs[kNumInputs + 1]), gradients,
        c10::cuda::getCurrentCUDAStream()));
    return d_inputs;
  }
};

}  // namespace

bool group_norm_silu_is_fused(const GroupNormSiluArgs& args) {
  const Tensor& x = args.x;
  if (!x.is_cuda() || (x.scalar_type() != at::kBFloat16 && x.scalar_type() != at::kFloat)) {
    return false;
  }
  for (const Tensor* other :
       {&args.weight, &args.bias, &args.time_embedding, &args.scale, &args.shift}) {
    if (other->defined() && other->scalar_type() != x.scalar_type()) return false;
  }
  return group_norm_silu_fits(shape_of(x, args.num_groups, args.eps, args.silu));
}

Tensor fused_group_norm_silu(const GroupNormSiluArgs& args) {
  return GroupNormSilu::apply(args.x.contiguous(at::MemoryFormat::ChannelsLast), args.weight,
                              args.bias, with_dense_rows(args.time_embedding),
                              with_dense_rows(args.scale), with_dense_rows(args.shift),
                              args.num_groups, args.eps, args.silu);
}

}  // namespace ddpm::cuda
