#include "ddpm/kernels/cuda/attention_function.h"

#include <ATen/ATen.h>
#include <ATen/core/grad_mode.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>
#include <torch/csrc/autograd/custom_function.h>

#include <cmath>

#include "ddpm/kernels/cuda/attention_few_pixels_kernels.h"
#include "ddpm/kernels/cuda/softmax_kernels.h"

namespace ddpm::cuda {
namespace {

using torch::autograd::AutogradContext;
using torch::autograd::variable_list;

/// Part 0, 1 or 2 of queries, keys and values: a view [N, L, C].
Tensor part_of(const Tensor& qkv, int64_t part) {
  const int64_t channels = qkv.size(2) / 3;
  return qkv.narrow(/*dim=*/2, part * channels, channels);
}

SoftmaxShape softmax_shape(const Tensor& qkv) {
  return {.rows = qkv.size(0) * qkv.size(1),
          .length = static_cast<int>(qkv.size(1)),
          .scale = static_cast<float>(1 / std::sqrt(static_cast<double>(qkv.size(2) / 3))),
          .bf16 = qkv.scalar_type() == at::kBFloat16};
}

AttentionShape attention_shape(const Tensor& qkv, int64_t num_heads) {
  return {.images = static_cast<int>(qkv.size(0)),
          .length = static_cast<int>(qkv.size(1)),
          .heads = static_cast<int>(num_heads),
          .channels = static_cast<int>(qkv.size(2) / (3 * num_heads))};
}

/// a b^T in float32.
Tensor float_product(const Tensor& a, const Tensor& b) {
  const Tensor transposed = b.transpose(1, 2);
  return a.scalar_type() == at::kFloat ? at::bmm(a, transposed)
                                       : at::bmm(a, transposed, at::kFloat);
}

class SequenceAttention : public torch::autograd::Function<SequenceAttention> {
 public:
  static Tensor forward(AutogradContext* ctx, const Tensor& qkv) {
    const c10::cuda::CUDAGuard guard(qkv.device());
    const Tensor scores = float_product(part_of(qkv, 0), part_of(qkv, 1));
    const Tensor probabilities = at::empty(scores.sizes(), qkv.options());
    C10_CUDA_CHECK(softmax_rows(softmax_shape(qkv), scores.const_data_ptr<float>(),
                                probabilities.mutable_data_ptr(),
                                c10::cuda::getCurrentCUDAStream()));
    ctx->save_for_backward({qkv, probabilities});
    return at::bmm(probabilities, part_of(qkv, 2));
  }

  static variable_list backward(AutogradContext* ctx, const variable_list& d_outputs) {
    const variable_list saved = ctx->get_saved_variables();
    const Tensor& qkv = saved[0];
    const Tensor& probabilities = saved[1];
    const c10::cuda::CUDAGuard guard(qkv.device());
    const Tensor& d_y = d_outputs[0];
    const Tensor d_probabilities = float_product(d_y, part_of(qkv, 2));
    const Tensor d_scores = at::empty_like(probabilities);
    C10_CUDA_CHECK(softmax_rows_backward(
        softmax_shape(qkv), probabilities.const_data_ptr(), d_probabilities.const_data_ptr<float>(),
        d_scores.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream()));
    const Tensor d_qkv = at::empty(qkv.sizes(), qkv.options());
    Tensor d_query = part_of(d_qkv, 0);
    Tensor d_key = part_of(d_qkv, 1);
    Tensor d_value = part_of(d_qkv, 2);
    at::bmm_out(d_query, d_scores, part_of(qkv, 1));
    at::bmm_out(d_key, d_scores.transpose(1, 2), part_of(qkv, 0));
    at::bmm_out(d_value, probabilities.transpose(1, 2), d_y);
    return {d_qkv};
  }
};

}  // namespace

bool attention_is_fused(const Tensor& qkv, int64_t num_heads) {
  const auto dtype = qkv.scalar_type();
  return qkv.is_cuda() && (dtype == at::kBFloat16 || dtype == at::kFloat) && num_heads == 1 &&
         at::GradMode::is_enabled() && qkv.requires_grad() && qkv.size(1) <= kLongestRow &&
         qkv.size(1) % 4 == 0;
}

Tensor fused_attention(const Tensor& qkv) { return SequenceAttention::apply(qkv); }

bool attention_is_of_few_pixels(const Tensor& qkv, int64_t num_heads) {
  if (!qkv.is_cuda() || qkv.scalar_type() != at::kBFloat16 || at::GradMode::is_enabled()) {
    return false;
  }
  const c10::cuda::CUDAGuard guard(qkv.device());
  return attention_has_few_pixels(attention_shape(qkv, num_heads));
}

Tensor few_pixels_attention(const Tensor& qkv, int64_t num_heads) {
  const c10::cuda::CUDAGuard guard(qkv.device());
  const Tensor dense = qkv.contiguous();
  const Tensor y = at::empty({qkv.size(0), qkv.size(1), qkv.size(2) / 3}, qkv.options());
  C10_CUDA_CHECK(attend_few_pixels(attention_shape(qkv, num_heads), dense.const_data_ptr(),
                                   y.mutable_data_ptr(), c10::cuda::getCurrentCUDAStream()));
  return y;
}

}  // namespace ddpm::cuda
