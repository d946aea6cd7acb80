#include "ddpm/kernels/linear.h"

#include <ATen/ATen.h>
#ifdef DDPM_CUDA
#include "ddpm/kernels/cuda/conv2d_function.h"
#endif

namespace ddpm {
#ifdef DDPM_CUDA
namespace {

constexpr int64_t kManyRows = 1024;  // LibTorch's sum of a bias' gradient is slow from there on

/// [..., C] as maps of one pixel.
Tensor pixels_of(const Tensor& sequence) {
  return sequence.defined() ? sequence.reshape({-1, sequence.size(-1), 1, 1}) : sequence;
}

}  // namespace
#endif

Tensor linear(const LinearArgs& args) {
#ifdef DDPM_CUDA
  const Conv2dArgs product{.x = pixels_of(args.x),
                           .weight = args.weight.unsqueeze(2).unsqueeze(3),
                           .bias = args.bias,
                           .residual = pixels_of(args.residual)};
  if (product.x.size(0) >= kManyRows && cuda::conv2d_is_fused(product)) {
    auto sizes = args.x.sizes().vec();
    sizes.back() = args.weight.size(0);
    return cuda::fused_conv2d(product).reshape(sizes);
  }
#endif
  const Tensor y = at::linear(args.x, args.weight, args.bias);
  return args.residual.defined() ? y + args.residual : y;
}

}  // namespace ddpm
