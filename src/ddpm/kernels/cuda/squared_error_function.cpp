#include "ddpm/kernels/cuda/squared_error_function.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/autograd/custom_function.h>

#include "ddpm/kernels/cuda/squared_error_kernels.h"

namespace ddpm::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

constexpr int64_t kMostErrorImages = 65535;  // of a grid

SquaredErrorShape squared_error_shape(const Tensor& prediction) {
  return {.images = prediction.size(0),
          .elements = prediction.numel() / prediction.size(0),
          .bf16 = prediction.scalar_type() == at::kBFloat16};
}

/// Whether images lie one behind the other, without gaps.
bool holds_images_in_a_row(const Tensor& batch) {
  return batch.is_non_overlapping_and_dense() &&
         (batch.size(0) == 1 || batch.stride(0) == batch.numel() / batch.size(0));
}

bool have_the_same_order(const Tensor& a, const Tensor& b) {
  const auto both_are = [&](at::MemoryFormat format) {
    return a.is_contiguous(format) && b.is_contiguous(format);
  };
  return a.strides() == b.strides() || both_are(at::MemoryFormat::Contiguous) ||
         (a.dim() == 4 && both_are(at::MemoryFormat::ChannelsLast));
}

/// `target` with its elements in the order of the prediction's.
Tensor in_order_of(const Tensor& prediction, const Tensor& target) {
  if (have_the_same_order(prediction, target)) return target;
  return at::empty_like(prediction, target.options()).copy_(target);
}

class SquaredErrorPerImage : public torch::autograd::Function<SquaredErrorPerImage> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& prediction, const Tensor& target) {
    const c10::cuda::CUDAGuard guard(prediction.device());
    const SquaredErrorShape shape = squared_error_shape(prediction);
    const auto numbers = at::TensorOptions(at::kFloat).device(prediction.device());
    const Tensor losses = at::empty({shape.images}, numbers);
    const Tensor scratch = at::empty({squared_error_scratch(shape)}, numbers);
    C10_CUDA_CHECK(squared_error(shape, prediction.const_data_ptr(), target.const_data_ptr<float>(),
                                 losses.mutable_data_ptr<float>(),
                                 scratch.mutable_data_ptr<float>(),
                                 c10::cuda::getCurrentCUDAStream()));
    ctx->save_for_backward({prediction, target});
    return losses;
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_outputs) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor& prediction = saved[0];
    const c10::cuda::CUDAGuard guard(prediction.device());
    const Tensor d_losses = d_outputs[0].contiguous();
    const Tensor d_prediction = at::empty_like(prediction);
    C10_CUDA_CHECK(
        squared_error_backward(squared_error_shape(prediction), prediction.const_data_ptr(),
                               saved[1].const_data_ptr<float>(), d_losses.const_data_ptr<float>(),
                               d_prediction.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream()));
    return {d_prediction, Tensor()};
  }
};

}  // namespace

bool squared_error_is_fused(const Tensor& prediction, const Tensor& target) {
  const at::ScalarType dtype = prediction.scalar_type();
  return prediction.is_cuda() && target.is_cuda() &&
         (dtype == at::kBFloat16 || dtype == at::kFloat) && target.scalar_type() == at::kFloat &&
         !target.requires_grad() && prediction.numel() > 0 &&
         prediction.size(0) <= kMostErrorImages;
}

Tensor fused_squared_error(const Tensor& prediction, const Tensor& target) {
  const Tensor images = holds_images_in_a_row(prediction) ? prediction : prediction.contiguous();
  return SquaredErrorPerImage::apply(images, in_order_of(images, target));
}

}  // namespace ddpm::cuda
