#include "ddpm/kernels/cuda/fold_attention.h"

#include <ATen/ATen.h>
#include <c10/cuda/CUDAException.h>
#include <c10/cuda/CUDAGuard.h>
#include <c10/cuda/CUDAStream.h>

#include <cstdint>

#include "ddpm/kernels/cuda/small_products_kernels.h"

namespace ddpm::cuda {
namespace {

constexpr int64_t kFewestFolded = 128, kMostFolded = 1024;

SmallMatrix as_it_is(const Tensor& matrix) { return {.values = matrix.const_data_ptr()}; }
SmallMatrix turned(const Tensor& matrix) {
  return {.values = matrix.const_data_ptr(), .turned = true};
}

}  // namespace

bool folds_attention_at_once(const AttentionWeights& weights) {
  const int64_t size = weights.q.size(0);
  if (size < kFewestFolded || size > kMostFolded || kMostFolded % size != 0) return false;
  for (const Tensor& weight : weights.all()) {
    const bool is_square = weight.dim() == 1 || weight.size(0) == weight.size(1);
    if (!weight.is_cuda() || weight.scalar_type() != at::kBFloat16 || weight.size(0) != size ||
        !is_square || !weight.is_contiguous() ||
        reinterpret_cast<uintptr_t>(weight.const_data_ptr()) % 16 != 0) {
      return false;
    }
  }
  return true;
}

std::vector<std::vector<Tensor>> fold_attentions_at_once(
    const std::vector<AttentionWeights>& layers) {
  const Tensor& like = layers.front().q;
  const c10::cuda::CUDAGuard guard(like.device());
  std::vector<std::vector<Tensor>> folded;
  SmallProducts products{.size = static_cast<int>(like.size(0))};
  const auto launch = [&] {
    C10_CUDA_CHECK(multiply_small(products, c10::cuda::getCurrentCUDAStream()));
    products.count = products.vector_count = 0;
  };
  for (const AttentionWeights& w : layers) {
    folded.push_back({at::empty_like(w.q), at::empty_like(w.q_bias), at::empty_like(w.out),
                      at::empty_like(w.out_bias)});
    const auto room = [&](size_t i) { return folded.back()[i].mutable_data_ptr(); };
    products.products[products.count++] = {.a = turned(w.k), .b = as_it_is(w.q), .out = room(0)};
    products.products[products.count++] = {
        .a = as_it_is(w.out), .b = as_it_is(w.v), .out = room(2)};
    products.vector_products[products.vector_count++] = {
        .matrix = turned(w.k), .vector = w.q_bias.const_data_ptr(), .out = room(1)};
    products.vector_products[products.vector_count++] = {.matrix = as_it_is(w.out),
                                                         .vector = w.v_bias.const_data_ptr(),
                                                         .added = w.out_bias.const_data_ptr(),
                                                         .out = room(3)};
    if (products.count + 2 > kMostProducts) launch();
  }
  if (products.count > 0) launch();
  return folded;
}

std::vector<Tensor> unfold_gradients_at_once(const AttentionWeights& w,
                                             const std::vector<Tensor>& d_folded) {
  const c10::cuda::CUDAGuard guard(w.q.device());
  const Tensor d_score_weight = d_folded[0].contiguous(), d_score_bias = d_folded[1].contiguous();
  const Tensor d_out_weight = d_folded[2].contiguous(), d_out_bias = d_folded[3].contiguous();
  const Tensor d_q = at::empty_like(w.q), d_k = at::empty_like(w.k), d_v = at::empty_like(w.v);
  const Tensor d_out = at::empty_like(w.out);
  const Tensor d_q_bias = at::empty_like(w.q_bias), d_v_bias = at::empty_like(w.v_bias);
  C10_CUDA_CHECK(multiply_small(
      {.size = static_cast<int>(w.q.size(0)),
       .count = 4,
       .vector_count = 2,
       .products =
           {{.a = as_it_is(w.k), .b = as_it_is(d_score_weight), .out = d_q.mutable_data_ptr()},
            {.a = as_it_is(w.q),
             .b = turned(d_score_weight),
             .column = w.q_bias.const_data_ptr(),
             .row = d_score_bias.const_data_ptr(),
             .out = d_k.mutable_data_ptr()},
            {.a = turned(w.out), .b = as_it_is(d_out_weight), .out = d_v.mutable_data_ptr()},
            {.a = as_it_is(d_out_weight),
             .b = turned(w.v),
             .column = d_out_bias.const_data_ptr(),
             .row = w.v_bias.const_data_ptr(),
             .out = d_out.mutable_data_ptr()}},
       .vector_products = {{.matrix = as_it_is(w.k),
                            .vector = d_score_bias.const_data_ptr(),
                            .out = d_q_bias.mutable_data_ptr()},
                           {.matrix = turned(w.out),
                            .vector = d_out_bias.const_data_ptr(),
                            .out = d_v_bias.mutable_data_ptr()}}},
      c10::cuda::getCurrentCUDAStream()));
  return {d_q,      d_k,
          d_v,      d_out,
          d_q_bias, at::zeros_like(w.k_bias),
          d_v_bias, d_out_bias.clone()};  // autograd copies what others hold, not beside
}

}  // namespace ddpm::cuda
