#include "ddpm/kernels/conv2d.h"

#include <ATen/ATen.h>

#include <array>
#include <utility>

#include "ddpm/core/check.h"
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/conv2d_function.h"
#endif

namespace ddpm {

Tensor conv2d(const Conv2dArgs& args) {
#ifdef DDPM_CUDA
  if (cuda::conv2d_is_fused(args)) return cuda::fused_conv2d(args);
#endif
  if (args.x_rest.defined()) {
    Conv2dArgs whole = args;
    whole.x = at::cat({args.x, std::exchange(whole.x_rest, {})}, /*dim=*/1);
    return conv2d(whole);
  }
  const std::array<int64_t, 2> stride{args.stride, args.stride};
  const std::array<int64_t, 2> padding{args.padding, args.padding};
  const Tensor y = at::convolution(args.x, args.weight, args.bias, stride, padding,
                                   /*dilation=*/{1, 1}, args.transposed,
                                   /*output_padding=*/{0, 0}, /*groups=*/1)
                       .contiguous(at::MemoryFormat::ChannelsLast);
  if (!args.residual.defined()) return y;
  check_arg(args.residual.sizes() == y.sizes(),
            "[conv2d] residual must be like the result: expected ", y.sizes(), ", got ",
            args.residual.sizes());
  return y + args.residual;
}

}  // namespace ddpm
