#include "ddpm/kernels/relu_batch_norm.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/relu_batch_norm_function.h"
#endif

namespace ddpm {
namespace {

void check_relu_batch_norm_args(const ReluBatchNormArgs& args) {
  const Tensor& x = args.x;
  check_arg(x.dim() == 4,
            "[relu_batch_norm] x must be a batch of maps: expected [N, C, H, W], got ", x.sizes());
  const auto check_channels = [&](const Tensor& values) {
    check_arg(values.sizes() == at::IntArrayRef({x.size(1)}),
              "[relu_batch_norm] weights and statistics must hold one value a channel: expected [",
              x.size(1), "], got ", values.sizes());
  };
  for (const Tensor& values : {args.weight, args.bias, args.running_mean, args.running_var}) {
    check_channels(values);
  }
  if (args.x_bias.defined()) check_channels(args.x_bias);
  const Tensor& time = args.time_embedding;
  check_arg(!time.defined() || time.sizes() == at::IntArrayRef({x.size(0), x.size(1)}),
            "[relu_batch_norm] time_embedding must be [N, C]: expected [", x.size(0), ", ",
            x.size(1), "], got ", time.defined() ? time.sizes() : at::IntArrayRef());
}

}  // namespace

Tensor relu_batch_norm(const ReluBatchNormArgs& args) {
  check_relu_batch_norm_args(args);
#ifdef DDPM_CUDA
  if (cuda::relu_batch_norm_is_fused(args)) return cuda::fused_relu_batch_norm(args);
#endif
  const auto dtype = args.running_mean.scalar_type();
  if (args.training && args.num_batches_tracked.defined()) args.num_batches_tracked.add_(1);
  Tensor x = args.x.contiguous(at::MemoryFormat::ChannelsLast);
  if (args.x_bias.defined()) x = x + args.x_bias.unsqueeze(1).unsqueeze(2);
  const Tensor y =
      at::batch_norm(at::relu(x), args.weight.to(dtype), args.bias.to(dtype), args.running_mean,
                     args.running_var, args.training, args.momentum, args.eps,
                     /*cudnn_enabled=*/true);
  if (!args.time_embedding.defined()) return y;
  return y + args.time_embedding.unsqueeze(2).unsqueeze(3);
}

}  // namespace ddpm
