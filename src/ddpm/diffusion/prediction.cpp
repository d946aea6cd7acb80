#include "ddpm/diffusion/prediction.h"

#include <ATen/ATen.h>

#include <stdexcept>

#include "ddpm/core/check.h"
#include "ddpm/diffusion/edm.h"
#include "ddpm/diffusion/forward_process.h"

namespace ddpm {

Tensor velocity(const NoiseSchedule& schedule, const Tensor& x_start, const Tensor& t,
                const Tensor& noise) {
  check_batch("velocity", x_start, t, noise, "noise");
  return gather_at(schedule.sqrt_alphas_cumprod, t, x_start) * noise -
         gather_at(schedule.sqrt_one_minus_alphas_cumprod, t, x_start) * x_start;
}

Tensor training_target(const NoiseSchedule& schedule, PredictionType prediction,
                       const Tensor& x_start, const Tensor& t, const Tensor& noise) {
  check_batch("training_target", x_start, t, noise, "noise");
  switch (prediction) {
    case PredictionType::kEpsilon:
      return noise;
    case PredictionType::kSample:
      return x_start;
    case PredictionType::kVelocity:
      return velocity(schedule, x_start, t, noise);
    case PredictionType::kEdm: {
      const EdmCoefficients edm = edm_coefficients(schedule.sigma_data, schedule.alphas_cumprod);
      return gather_at(edm.target_from_x_start, t, x_start) * x_start +
             gather_at(edm.target_from_noise, t, x_start) * noise;
    }
  }
  throw std::logic_error("[training_target] not a PredictionType");
}

Tensor predict_x_start(const NoiseSchedule& schedule, PredictionType prediction, const Tensor& x_t,
                       const Tensor& t, const Tensor& output) {
  check_batch("predict_x_start", x_t, t, output, "output");
  switch (prediction) {
    case PredictionType::kEpsilon:
      check_arg(!schedule.zero_terminal_snr,
                "[predict_x_start] eps says nothing about x_start where alpha_bar is 0: expected "
                "prediction sample or v_prediction with zero terminal SNR, got epsilon");
      return gather_at(schedule.sqrt_recip_alphas_cumprod, t, x_t) * x_t -
             gather_at(schedule.sqrt_recipm1_alphas_cumprod, t, x_t) * output;
    case PredictionType::kSample:
      return output;
    case PredictionType::kVelocity:
      return gather_at(schedule.sqrt_alphas_cumprod, t, x_t) * x_t -
             gather_at(schedule.sqrt_one_minus_alphas_cumprod, t, x_t) * output;
    case PredictionType::kEdm: {
      const EdmCoefficients edm = edm_coefficients(schedule.sigma_data, schedule.alphas_cumprod);
      return gather_at(edm.x_start_from_x_t, t, x_t) * x_t +
             gather_at(edm.x_start_from_output, t, x_t) * output;
    }
  }
  throw std::logic_error("[predict_x_start] not a PredictionType");
}

Tensor predict_eps(const NoiseSchedule& schedule, PredictionType prediction, const Tensor& x_t,
                   const Tensor& t, const Tensor& output) {
  check_batch("predict_eps", x_t, t, output, "output");
  switch (prediction) {
    case PredictionType::kEpsilon:
      return output;
    case PredictionType::kSample:
      return (x_t - gather_at(schedule.sqrt_alphas_cumprod, t, x_t) * output) /
             gather_at(schedule.sqrt_one_minus_alphas_cumprod, t, x_t);
    case PredictionType::kVelocity:
      return gather_at(schedule.sqrt_alphas_cumprod, t, x_t) * output +
             gather_at(schedule.sqrt_one_minus_alphas_cumprod, t, x_t) * x_t;
    case PredictionType::kEdm:
      return predict_eps(schedule, PredictionType::kSample, x_t, t,
                         predict_x_start(schedule, prediction, x_t, t, output));
  }
  throw std::logic_error("[predict_eps] not a PredictionType");
}

Tensor self_condition(const NoiseSchedule& schedule, PredictionType prediction, const Tensor& x_t,
                      const Tensor& t, const Tensor& output) {
  const int64_t channels = x_t.size(1);
  check_arg(output.dim() == 4 && (output.size(1) == channels || output.size(1) == 2 * channels),
            "[self_condition] output: expected [N, ", channels, " or ", 2 * channels,
            ", H, W], got ", output.sizes());
  const Tensor answer = output.detach().narrow(/*dim=*/1, 0, channels).to(x_t.scalar_type());
  return predict_x_start(schedule, prediction, x_t, t, answer).clamp(-1, 1);
}

}  // namespace ddpm
