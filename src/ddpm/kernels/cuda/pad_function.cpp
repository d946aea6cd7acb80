#include "ddpm/kernels/cuda/pad_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/autograd/custom_function.h>

#include <limits>

#include "ddpm/kernels/cuda/pad_kernels.h"
#include "ddpm/kernels/optional_tensor.h"

namespace ddpm::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kPadVector = 8;  // channels of a thread

Tensor empty_map(const Tensor& like, int64_t height, int64_t width) {
  return at::empty({like.size(0), like.size(1), height, width},
                   like.options().memory_format(at::MemoryFormat::ChannelsLast));
}

/// Of a map that is not padded.
PadShape pad_shape(at::IntArrayRef sizes, at::ScalarType dtype) {
  return {.images = static_cast<int>(sizes[0]),
          .height = static_cast<int>(sizes[2]),
          .width = static_cast<int>(sizes[3]),
          .channels = static_cast<int>(sizes[1]),
          .bf16 = dtype == at::kBFloat16};
}

class PadRightAndBottom : public torch::autograd::Function<PadRightAndBottom> {
 public:
  static variable_list forward(AutogradContext* ctx, const Tensor& x) {
    ctx->set_materialize_grads(false);
    const c10::cuda::CUDAGuard guard(x.device());
    Tensor y = empty_map(x, x.size(2) + 1, x.size(3) + 1);
    C10_CUDA_CHECK(pad_right_and_bottom(pad_shape(x.sizes(), x.scalar_type()), x.const_data_ptr(),
                                        y.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream()));
    return {y, x.detach()};
  }

  static variable_list backward(AutogradContext* /*ctx*/, const variable_list& d_outputs) {
    if (!d_outputs[0].defined()) return {d_outputs[1]};
    return {cut_right_and_bottom(d_outputs[0], d_outputs[1])};
  }
};

}  // namespace

bool pad_is_fused(const Tensor& x) {
  const auto dtype = x.scalar_type();
  if (!x.is_cuda() || x.dim() != 4 || (dtype != at::kBFloat16 && dtype != at::kFloat)) return false;
  return x.size(1) % kPadVector == 0 && x.size(0) * x.size(1) * (x.size(2) + 1) * (x.size(3) + 1) <=
                                            std::numeric_limits<int>::max();
}

PadFork fused_pad(const Tensor& x) {
  const variable_list outputs = PadRightAndBottom::apply(channels_last(x));
  return {.y = outputs[0], .x = outputs[1]};
}

Tensor cut_right_and_bottom(const Tensor& map, const Tensor& d_skip) {
  const Tensor whole = channels_last(map), added = channels_last(d_skip);
  const c10::cuda::CUDAGuard guard(whole.device());
  const Tensor cut = empty_map(whole, whole.size(2) - 1, whole.size(3) - 1);
  C10_CUDA_CHECK(pad_right_and_bottom_backward(
      pad_shape(cut.sizes(), cut.scalar_type()), whole.const_data_ptr(), data_of(added),
      cut.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream()));
  return cut;
}

Tensor pad_left_and_top(const Tensor& map) {
  const Tensor small = channels_last(map);
  const c10::cuda::CUDAGuard guard(small.device());
  const Tensor padded = empty_map(small, small.size(2) + 1, small.size(3) + 1);
  C10_CUDA_CHECK(pad_left_and_top(pad_shape(small.sizes(), small.scalar_type()),
                                  small.const_data_ptr(), padded.mutable_data_ptr(),
                                  c10::cuda::getCurrentCUDAStream()));
  return padded;
}

}  // namespace ddpm::cuda
