#include "ddpm/kernels/sampler_update.h"

#include <ATen/ATen.h>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

void check_like_x_t(const char* name, const Tensor& values, const Tensor& x_t) {
  check_arg(values.sizes() == x_t.sizes() && values.scalar_type() == at::kFloat,
            "[sampler_update] ", name, " must be like x_t: expected ", x_t.sizes(), " Float, got ",
            values.sizes(), " ", values.scalar_type());
}

void check_maps(const Tensor& x_t, const Tensor& pred_x_start, const Tensor& noise,
                bool needs_noise) {
  check_like_x_t("x_t", x_t, x_t);
  check_like_x_t("pred_x_start", pred_x_start, x_t);
  check_arg(noise.defined() || !needs_noise,
            "[sampler_update] noise is missing: expected noise like x_t where sigma is not 0, got "
            "an undefined tensor");
  if (noise.defined()) check_like_x_t("noise", noise, x_t);
}

/// One coefficient an image, in float32, ready to multiply a map of x_t.
Tensor per_image(const char* name, const Tensor& values, const Tensor& x_t) {
  check_arg(values.dim() == 1 && values.size(0) == x_t.size(0), "[sampler_update] ", name,
            " must hold one value an image: expected [", x_t.size(0), "], got ", values.sizes());
  std::vector<int64_t> shape(static_cast<size_t>(x_t.dim()), 1);
  shape[0] = x_t.size(0);
  return values.to(at::kFloat).view(shape);
}

}  // namespace

Tensor sampler_update(const Tensor& x_t, const Tensor& pred_x_start, const Tensor& noise,
                      double coef_x_start, double coef_x_t, double sigma) {
  check_maps(x_t, pred_x_start, noise, sigma != 0.0);
  Tensor x_prev = (x_t * coef_x_t).add_(pred_x_start, coef_x_start);
  if (sigma != 0.0) x_prev.add_(noise, sigma);
  return x_prev;
}

Tensor sampler_update(const Tensor& x_t, const Tensor& pred_x_start, const Tensor& noise,
                      const StepCoefficients& coefficients) {
  check_maps(x_t, pred_x_start, noise, coefficients.sigma.defined());
  Tensor x_prev = x_t * per_image("coef_x_t", coefficients.coef_x_t, x_t) +
                  pred_x_start * per_image("coef_x_start", coefficients.coef_x_start, x_t);
  if (coefficients.sigma.defined()) {
    const Tensor sigma = per_image("sigma", coefficients.sigma, x_t);
    x_prev.add_(at::where(sigma == 0, at::zeros_like(noise), sigma * noise));
  }
  return x_prev;
}

}  // namespace ddpm
