#include "ddpm/loss/diffusion_loss.h"

#include <ATen/ATen.h>

#include <numeric>
#include <stdexcept>
#include <vector>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

Tensor elementwise_loss(const LossConfig& config, const Tensor& prediction, const Tensor& target) {
  switch (config.kind) {
    case LossKind::kL1:
      return at::l1_loss(prediction, target, at::Reduction::None);
    case LossKind::kL2:
      return at::mse_loss(prediction, target, at::Reduction::None);
    case LossKind::kHuber:
      return at::huber_loss(prediction, target, at::Reduction::None, config.huber_delta);
  }
  throw std::logic_error("[loss_per_image] not a LossKind");
}

Tensor min_snr_weights(double gamma, PredictionType prediction, const Tensor& snr) {
  switch (prediction) {
    case PredictionType::kEpsilon:  // min(SNR, gamma) / SNR, written so that SNR = 0 gives 1
      return (gamma / snr).clamp_max(1.0);
    case PredictionType::kSample:
      return snr.clamp_max(gamma);
    case PredictionType::kVelocity:
      return snr.clamp_max(gamma) / (snr + 1);
  }
  throw std::logic_error("[loss_weight] not a PredictionType");
}

}  // namespace

Tensor loss_per_image(const LossConfig& config, const Tensor& prediction, const Tensor& target) {
  check_arg(prediction.sizes() == target.sizes() && prediction.dim() >= 2,
            "[loss_per_image] prediction must be [N, ...] like the target: expected ",
            target.sizes(), ", got ", prediction.sizes());
  const Tensor loss = elementwise_loss(config, prediction.to(at::kFloat), target.to(at::kFloat));
  std::vector<int64_t> image_dims(static_cast<size_t>(loss.dim() - 1));
  std::iota(image_dims.begin(), image_dims.end(), 1);
  return loss.mean(image_dims);  // flatten(1) would copy a channels_last batch
}

Tensor loss_weight_table(const LossConfig& config, PredictionType prediction,
                         const NoiseSchedule& schedule) {
  switch (config.weighting) {
    case LossWeighting::kNone:
      return at::ones_like(schedule.snr, at::kFloat);
    case LossWeighting::kMinSnr:
      return min_snr_weights(config.min_snr_gamma, prediction, schedule.snr).to(at::kFloat);
  }
  throw std::logic_error("[loss_weight] not a LossWeighting");
}

Tensor loss_weight(const LossConfig& config, PredictionType prediction,
                   const NoiseSchedule& schedule, const Tensor& t) {
  return loss_weight_table(config, prediction, schedule).index_select(/*dim=*/0, t);
}

}  // namespace ddpm
