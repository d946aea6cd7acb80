#include "ddpm/kernels/cuda/upsample_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ddpm/kernels/cuda/upsample_kernels.h"

namespace ddpm::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

UpsampleShape upsample_shape(const Tensor& small) {
  return {.images = static_cast<int>(small.size(0)),
          .height = static_cast<int>(small.size(2)),
          .width = static_cast<int>(small.size(3)),
          .channels = static_cast<int>(small.size(1)),
          .bf16 = small.scalar_type() == at::kBFloat16};
}

Tensor empty_map(at::IntArrayRef sizes, const Tensor& like) {
  return at::empty(sizes, like.options().memory_format(at::MemoryFormat::ChannelsLast));
}

class Upsample2x : public torch::autograd::Function<Upsample2x> {
 public:
  static Tensor forward(AutogradContext* /*ctx*/, const Tensor& x) {
    const c10::cuda::CUDAGuard guard(x.device());
    Tensor y = empty_map({x.size(0), x.size(1), 2 * x.size(2), 2 * x.size(3)}, x);
    C10_CUDA_CHECK(upsample_nearest_2x(upsample_shape(x), x.const_data_ptr(), y.mutable_data_ptr(),
                                       c10::cuda::getCurrentCUDAStream()));
    return y;
  }

  static variable_list backward(AutogradContext* /*ctx*/, const variable_list& d_outputs) {
    const Tensor d_y = d_outputs[0].contiguous(at::MemoryFormat::ChannelsLast);
    const c10::cuda::CUDAGuard guard(d_y.device());
    const Tensor d_x = empty_map({d_y.size(0), d_y.size(1), d_y.size(2) / 2, d_y.size(3) / 2}, d_y);
    C10_CUDA_CHECK(upsample_nearest_2x_backward(upsample_shape(d_x), d_y.const_data_ptr(),
                                                d_x.mutable_data_ptr(),
                                                c10::cuda::getCurrentCUDAStream()));
    return {d_x};
  }
};

}  // namespace

bool upsample_is_fused(const Tensor& x) {
  const auto dtype = x.scalar_type();
  return x.is_cuda() && x.dim() == 4 && (dtype == at::kBFloat16 || dtype == at::kFloat) &&
         x.size(1) % 8 == 0;
}

Tensor fused_upsample(const Tensor& x) {
  return Upsample2x::apply(x.contiguous(at::MemoryFormat::ChannelsLast));
}

}  // namespace ddpm::cuda
