#include "ddpm/kernels/group_norm_silu.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"
#include "ddpm/kernels/cpu/group_norm_silu_function.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/group_norm_silu_function.h"
#endif

namespace ddpm {
namespace {

void check_per_image(const char* name, const Tensor& values, int64_t images, int64_t channels) {
  check_arg(!values.defined() || values.sizes() == at::IntArrayRef({images, channels}),
            "[group_norm_silu] ", name, " must be [N, C]: expected [", images, ", ", channels,
            "], got ", values.defined() ? values.sizes() : at::IntArrayRef());
}

void check_maps(const Tensor& x, const Tensor& x_rest) {
  check_arg(x.dim() == 4,
            "[group_norm_silu] x must be a batch of maps: expected [N, C, H, W], got ", x.sizes());
  if (!x_rest.defined()) return;
  check_arg(x_rest.dim() == 4 && x_rest.size(0) == x.size(0) &&
                x_rest.sizes().slice(2) == x.sizes().slice(2),
            "[group_norm_silu_fork] x_rest must be maps like x: expected ", x.sizes(),
            " but for the channels, got ", x_rest.sizes());
}

/// One value an image and channel, for every pixel of a map.
Tensor per_pixel(const Tensor& values) { return values.unsqueeze(2).unsqueeze(3); }

/// PyTorch's backward of a channels_last norm on a CPU (2.13) writes x's gradient whether it is
/// asked for or not, and crashes where it is not.
Tensor with_gradient_of_x(const Tensor& x, const GroupNormSiluArgs& args) {
  const bool weights_alone =
      !x.requires_grad() && (args.weight.requires_grad() || args.bias.requires_grad());
  if (!x.is_cpu() || !weights_alone) return x;
  return x.detach().set_requires_grad(true);
}

}  // namespace

void check_group_norm_silu(const GroupNormSiluArgs& args, const Tensor& x_rest) {
  const Tensor& x = args.x;
  check_maps(x, x_rest);
  const int64_t channels = x.size(1) + (x_rest.defined() ? x_rest.size(1) : 0);
  check_arg(args.num_groups >= 1 && channels % args.num_groups == 0,
            "[group_norm_silu] num_groups must divide the channels: expected a divisor of ",
            channels, ", got ", args.num_groups);
  for (const Tensor& affine : {args.weight, args.bias}) {
    check_arg(affine.sizes() == at::IntArrayRef({channels}),
              "[group_norm_silu] weight and bias must hold one value a channel: expected [",
              channels, "], got ", affine.sizes());
  }
  check_per_image("time_embedding", args.time_embedding, x.size(0), channels);
  check_per_image("scale", args.scale, x.size(0), channels);
  check_per_image("shift", args.shift, x.size(0), channels);
  check_arg(args.scale.defined() == args.shift.defined(),
            "[group_norm_silu] scale and shift come together: expected both or none, got one");
}

Tensor group_norm_silu(const GroupNormSiluArgs& args) {
  check_group_norm_silu(args);
#ifdef DDPM_CUDA
  if (cuda::group_norm_silu_is_fused(args)) return cuda::fused_group_norm_silu(args).y;
#endif
  if (cpu::group_norm_silu_is_fused(args)) {
    return at::dropout(cpu::fused_group_norm_silu(args), args.dropout, args.training);
  }
  Tensor x = args.x.contiguous(at::MemoryFormat::ChannelsLast);
  if (args.time_embedding.defined()) x = x + per_pixel(args.time_embedding);
  // The CUDA group norm answers in NCHW.
  Tensor y =
      at::group_norm(with_gradient_of_x(x, args), args.num_groups, args.weight, args.bias, args.eps)
          .contiguous(at::MemoryFormat::ChannelsLast);
  if (args.scale.defined()) y = y * (1 + per_pixel(args.scale)) + per_pixel(args.shift);
  // Where autograd needs no input of SiLU, its place is reused.
  if (args.silu) y = y.requires_grad() ? at::silu(y) : at::silu_(y);
  return at::dropout(y, args.dropout, args.training);
}

GroupNormFork group_norm_silu_fork(const GroupNormSiluArgs& args, const Tensor& x_rest) {
  check_group_norm_silu(args, x_rest);
#ifdef DDPM_CUDA
  if (cuda::group_norm_silu_is_fused(args, x_rest)) {
    return cuda::fused_group_norm_silu(args, x_rest);
  }
#endif
  GroupNormSiluArgs whole = args;
  if (x_rest.defined()) whole.x = at::cat({args.x, x_rest}, /*dim=*/1);
  return {.y = group_norm_silu(whole), .x = whole.x, .x_rest = {}, .x_later = args.x};
}

}  // namespace ddpm
