#include "ddpm/sampling/classifier_guidance.h"

#include <ATen/ATen.h>
#include <c10/core/GradMode.h>

#include <optional>
#include <stdexcept>

#include "ddpm/core/check.h"
#include "ddpm/diffusion/edm.h"

namespace ddpm {
namespace {

/// grad log p(y | x_t), like x_t.
Tensor gradient(const LogLikelihoodFn& log_likelihood, const Tensor& x_t, const Tensor& t) {
  const c10::AutoGradMode with_gradients(true);
  Tensor x = x_t.detach().requires_grad_();
  const Tensor values = log_likelihood(x, t);
  check_arg(values.dim() == 1 && values.size(0) == x_t.size(0),
            "[classifier_guidance] log_likelihood must give one value an image: expected [",
            x_t.size(0), "], got ", values.sizes());
  // Not that of the classifier's weights, which would be kept and added to at each step.
  values.sum().backward(/*gradient=*/{}, /*retain_graph=*/std::nullopt, /*create_graph=*/false,
                        at::TensorList(x));
  check_arg(x.grad().defined(),
            "[classifier_guidance] log_likelihood has no gradient: expected a "
            "function of x_t, got a constant");
  return x.grad();
}

/// What is added to the network's answer, as a multiple of the gradient. [N] float64.
Tensor gradient_factor(PredictionType prediction, double sigma_data, const Tensor& alpha_bar) {
  const Tensor variance = 1 - alpha_bar;
  switch (prediction) {
    case PredictionType::kEpsilon:
      return -variance.sqrt();
    case PredictionType::kSample:
      return variance / alpha_bar.sqrt();
    case PredictionType::kVelocity:
      return -(variance / alpha_bar).sqrt();
    case PredictionType::kEdm:  // that of x_start over c_out
      return variance / alpha_bar.sqrt() /
             edm_coefficients(sigma_data, alpha_bar).x_start_from_output;
  }
  throw std::logic_error("[classifier_guidance] not a PredictionType");
}

}  // namespace

Tensor alpha_bars_at(const NoiseSchedule& schedule, const Tensor& t) {
  const Tensor& table = schedule.alphas_cumprod;
  if (!t.is_floating_point()) return table.index_select(/*dim=*/0, t);
  const Tensor position = t.to(at::kDouble);
  const Tensor below = position.floor().to(at::kLong);
  const Tensor above = (below + 1).clamp_max(schedule.num_timesteps() - 1);
  const Tensor log_sigmas = ((1 - table) / table).log() / 2;
  const Tensor low = log_sigmas.index_select(/*dim=*/0, below);
  const Tensor high = log_sigmas.index_select(/*dim=*/0, above);
  const Tensor weight = position - below;
  // The last sigma may be infinite, and 0 times infinity is no number.
  const Tensor log_sigma = at::where(weight == 0, low, low + weight * (high - low));
  return (log_sigma * -2).sigmoid();
}

DenoiseFn classifier_guidance(const NoiseSchedule& schedule, PredictionType prediction,
                              double scale, const DenoiseFn& denoise,
                              const LogLikelihoodFn& log_likelihood) {
  return [=](const Tensor& x_t, const Tensor& t) {
    const Tensor output = denoise(x_t, t);
    const Tensor alpha_bar = alpha_bars_at(schedule, t);
    const Tensor factor =
        at::where(alpha_bar > 0, gradient_factor(prediction, schedule.sigma_data, alpha_bar), 0.0);
    const Tensor shift = gradient(log_likelihood, x_t, t) *
                         (factor * scale).to(x_t.scalar_type()).view({-1, 1, 1, 1});
    const int64_t channels = x_t.size(1);
    const Tensor guided = output.narrow(/*dim=*/1, 0, channels) + shift;
    if (output.size(1) == channels) return guided;
    const Tensor variance = output.narrow(/*dim=*/1, channels, output.size(1) - channels);
    return at::cat({guided, variance.to(guided.scalar_type())}, /*dim=*/1);
  };
}

}  // namespace ddpm
