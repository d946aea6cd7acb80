// The fused operations as torch.ops.ddpm.*, for programs that use PyTorch.
#include <ATen/ATen.h>
#include <torch/library.h>

#include "ddpm/kernels/conv2d.h"
#include "ddpm/kernels/group_norm_silu.h"
#include "ddpm/kernels/q_sample_uint8.h"

namespace ddpm {
namespace {

using std::optional;

Tensor group_norm_silu_op(const Tensor& x, int64_t num_groups, const Tensor& weight,
                          const Tensor& bias, double eps, const optional<Tensor>& time_embedding,
                          const optional<Tensor>& scale, const optional<Tensor>& shift, bool silu) {
  GroupNormSiluArgs args;
  args.x = x;
  args.num_groups = num_groups;
  args.weight = weight;
  args.bias = bias;
  args.eps = eps;
  args.time_embedding = time_embedding.value_or(Tensor());
  args.scale = scale.value_or(Tensor());
  args.shift = shift.value_or(Tensor());
  args.silu = silu;
  return group_norm_silu(args);
}

Tensor conv2d_op(const Tensor& x, const Tensor& weight, const optional<Tensor>& bias,
                 const optional<Tensor>& residual, int64_t stride, int64_t padding) {
  return conv2d({.x = x,
                 .weight = weight,
                 .bias = bias.value_or(Tensor()),
                 .residual = residual.value_or(Tensor()),
                 .stride = stride,
                 .padding = padding});
}

std::tuple<Tensor, Tensor> q_sample_uint8_op(const Tensor& images, const optional<Tensor>& flip,
                                             const Tensor& t, const Tensor& noise,
                                             const Tensor& alphas_cumprod) {
  const NoisedBatch batch =
      q_sample_uint8({.images = images,
                      .flip = flip.value_or(Tensor()),
                      .t = t,
                      .noise = noise,
                      .sqrt_alphas_cumprod = alphas_cumprod.sqrt().to(at::kFloat),
                      .sqrt_one_minus_alphas_cumprod = (1 - alphas_cumprod).sqrt().to(at::kFloat)});
  return {batch.x_start, batch.x_t};
}

}  // namespace

// Each operation brings its own derivative, so autograd needs no second registration.
TORCH_LIBRARY(ddpm, m) {
  m.def(
      "group_norm_silu(Tensor x, int num_groups, Tensor weight, Tensor bias, float eps=1e-5, *, "
      "Tensor? time_embedding=None, Tensor? scale=None, Tensor? shift=None, bool silu=True) -> "
      "Tensor",
      group_norm_silu_op);
  m.def(
      "conv2d(Tensor x, Tensor weight, Tensor? bias=None, Tensor? residual=None, *, int stride=1, "
      "int padding=0) -> Tensor",
      conv2d_op);
  m.def(
      "q_sample_uint8(Tensor images, Tensor? flip, Tensor t, Tensor noise, Tensor alphas_cumprod) "
      "-> (Tensor, Tensor)",
      q_sample_uint8_op);
}

}  // namespace ddpm
