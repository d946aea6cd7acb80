#include "ddpm/kernels/cuda/relu_batch_norm_function.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/autograd/custom_function.h>

#include <algorithm>
#include <array>

#include "ddpm/kernels/cuda/relu_batch_norm_kernels.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

BatchNormShape batch_norm_shape(const Tensor& x, double eps, double momentum, bool training) {
  return {.images = static_cast<int>(x.size(0)),
          .pixels = static_cast<int>(x.size(2) * x.size(3)),
          .channels = static_cast<int>(x.size(1)),
          .eps = static_cast<float>(eps),
          .momentum = static_cast<float>(momentum),
          .training = training,
          .bf16 = x.scalar_type() == at::kBFloat16};
}

Tensor scratch_of(const BatchNormShape& shape, const Tensor& statistics) {
  return at::empty({batch_norm_scratch(shape)}, statistics.options());
}

/// The pass over x; in training `mean` and `rstd` receive the batch's statistics.
Tensor normalize_map(const ReluBatchNormArgs& args, const Tensor& mean, const Tensor& rstd) {
  const c10::cuda::CUDAGuard guard(args.x.device());
  const BatchNormShape shape = batch_norm_shape(args.x, args.eps, args.momentum, args.training);
  BatchNormTensors tensors;
  tensors.x = args.x.const_data_ptr();
  tensors.x_bias = data_of(args.x_bias);
  tensors.weight = args.weight.const_data_ptr();
  tensors.bias = args.bias.const_data_ptr();
  tensors.time_embedding = data_of(args.time_embedding);
  if (args.time_embedding.defined()) tensors.time_stride = args.time_embedding.stride(0);
  tensors.running_mean = args.running_mean.mutable_data_ptr<float>();
  tensors.running_var = args.running_var.mutable_data_ptr<float>();
  Tensor scratch;
  if (args.training) {
    scratch = scratch_of(shape, args.running_mean);
    if (args.num_batches_tracked.defined()) {
      tensors.num_batches_tracked = args.num_batches_tracked.mutable_data_ptr<int64_t>();
    }
    tensors.mean = mean.mutable_data_ptr<float>();
    tensors.rstd = rstd.mutable_data_ptr<float>();
  }
  Tensor y = at::empty_like(args.x);
  C10_CUDA_CHECK(
      relu_batch_norm_forward(shape, tensors, y.mutable_data_ptr(),
                              scratch.defined() ? scratch.mutable_data_ptr<float>() : nullptr,
                              c10::cuda::getCurrentCUDAStream()));
  return y;
}

class ReluBatchNorm : public torch::autograd::Function<ReluBatchNorm> {
 public:
  /// @param args whose tensors the others are: autograd has to see those that have gradients.
  static Tensor forward(AutogradContext* ctx, const Tensor& x, const std::optional<Tensor>& x_bias,
                        const Tensor& weight, const Tensor& /*bias*/,
                        const std::optional<Tensor>& time_embedding,
                        const ReluBatchNormArgs& args) {
    const Tensor mean = at::empty_like(args.running_mean);
    const Tensor rstd = at::empty_like(args.running_mean);
    const Tensor y = normalize_map(args, mean, rstd);
    ctx->save_for_backward({x, weight, mean, rstd, x_bias.value_or(Tensor())});
    ctx->saved_data["eps"] = args.eps;
    ctx->saved_data["time"] = time_embedding.has_value();
    return y;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_outputs) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor& x = saved[0];
    const c10::cuda::CUDAGuard guard(x.device());
    const BatchNormShape shape = batch_norm_shape(x, ctx->saved_data["eps"].toDouble(),
                                                  /*momentum=*/0, /*training=*/true);
    const Tensor d_y = d_outputs[0].contiguous(at::MemoryFormat::ChannelsLast);
    const Tensor d_x = at::empty_like(x);
    const Tensor d_weight = at::empty_like(saved[1]);
    const Tensor d_bias = at::empty_like(saved[1]);
    Tensor d_x_bias, d_time;
    if (saved[4].defined()) d_x_bias = at::empty_like(saved[1]);
    if (ctx->saved_data["time"].toBool()) {
      d_time = at::empty({x.size(0), x.size(1)}, saved[1].options());
    }
    const Tensor scratch = scratch_of(shape, saved[2]);
    BatchNormTensors tensors;
    tensors.x = x.const_data_ptr();
    tensors.x_bias = data_of(saved[4]);
    tensors.weight = saved[1].const_data_ptr();
    tensors.mean = saved[2].mutable_data_ptr<float>();
    tensors.rstd = saved[3].mutable_data_ptr<float>();
    C10_CUDA_CHECK(relu_batch_norm_backward(shape, tensors,
                                            {.d_y = d_y.const_data_ptr(),
                                             .d_x = d_x.mutable_data_ptr(),
                                             .d_x_bias = room_of(d_x_bias),
                                             .d_time_embedding = room_of(d_time),
                                             .d_weight = d_weight.mutable_data_ptr(),
                                             .d_bias = d_bias.mutable_data_ptr()},
                                            scratch.mutable_data_ptr<float>(),
                                            c10::cuda::getCurrentCUDAStream()));
    return {d_x, d_x_bias, d_weight, d_bias, d_time, Tensor()};  // the last: of args
  }
};

/// @param table [N, C] or undefined; 8 divides C.
/// @return      whose rows begin where 8 numbers can be read at once, as those of a chunk may.
Tensor aligned_rows(const Tensor& table) {
  constexpr int64_t kVectorSize = 8;
  if (!table.defined()) return table;
  const bool are_aligned = table.stride(1) == 1 && table.stride(0) % kVectorSize == 0 &&
                           table.storage_offset() % kVectorSize == 0;
  return are_aligned ? table : table.contiguous();
}

bool needs_gradient(const ReluBatchNormArgs& args) {
  const std::array inputs{&args.x, &args.x_bias, &args.weight, &args.bias, &args.time_embedding};
  return at::GradMode::is_enabled() &&
         std::any_of(inputs.begin(), inputs.end(), [](const Tensor* input) {
           return input->defined() && input->requires_grad();
         });
}

}  // namespace

bool relu_batch_norm_is_fused(const ReluBatchNormArgs& args) {
  const Tensor& x = args.x;
  if (!x.is_cuda() || (x.scalar_type() != at::kBFloat16 && x.scalar_type() != at::kFloat)) {
    return false;
  }
  for (const Tensor* other : {&args.x_bias, &args.weight, &args.bias, &args.time_embedding}) {
    if (other->defined() && other->scalar_type() != x.scalar_type()) return false;
  }
  const Tensor& batches = args.num_batches_tracked;
  const bool counts = args.training && batches.defined();
  if (counts && (!batches.is_cuda() || batches.scalar_type() != at::kLong)) return false;
  constexpr int64_t kMostImages = 65535;  // of a grid
  const bool fits = x.numel() > 0 && x.size(1) % 8 == 0 && x.size(0) <= kMostImages &&
                    x.size(0) * x.size(2) * x.size(3) > 1;
  return fits && args.running_mean.scalar_type() == at::kFloat &&
         (args.training || !needs_gradient(args));
}

Tensor fused_relu_batch_norm(const ReluBatchNormArgs& args) {
  ReluBatchNormArgs dense = args;
  dense.x = args.x.contiguous(at::MemoryFormat::ChannelsLast);
  dense.time_embedding = aligned_rows(args.time_embedding);
  if (!args.training) return normalize_map(dense, {}, {});
  return ReluBatchNorm::apply(dense.x, if_defined(dense.x_bias), dense.weight, dense.bias,
                              if_defined(dense.time_embedding), dense);
}

}  // namespace ddpm::cuda
