#include "ddpm/loss/diffusion_loss.h"

#include <ATen/ATen.h>

#include <stdexcept>

#include "ddpm/core/check.h"
#include "ddpm/kernels/squared_error.h"

namespace ddpm {
namespace {

constexpr double kTinySnr = 1e-300;

/// The weight that the plain loss of a prediction gives to the squared error of x_start.
Tensor plain_x_start_weights(PredictionType prediction, double sigma_data, const Tensor& snr) {
  switch (prediction) {
    case PredictionType::kEpsilon:
      return snr;
    case PredictionType::kSample:
      return at::ones_like(snr);
    case PredictionType::kVelocity:
      return snr + 1;
    case PredictionType::kEdm:  // 1 / c_out^2
      return snr + 1 / (sigma_data * sigma_data);
  }
  throw std::logic_error("[loss_weight] not a PredictionType");
}

/// The weight of the squared error of x_start.
Tensor x_start_weights(const LossConfig& config, const Tensor& plain, const Tensor& snr) {
  const double gamma = config.min_snr_gamma;
  switch (config.weighting) {
    case LossWeighting::kNone:
      return plain;
    case LossWeighting::kMinSnr:
      return snr.clamp_max(gamma);
    case LossWeighting::kSoftMinSnr:
      return gamma * snr / (snr + gamma);
    case LossWeighting::kP2:
      return snr / (config.p2_k + snr).pow(config.p2_gamma);
    case LossWeighting::kSnr:
      return snr;
    case LossWeighting::kTruncatedSnr:
      return snr.clamp_min(1.0);
    case LossWeighting::kSnrPlusOne:
      return snr + 1;
    case LossWeighting::kConstant:
      return at::ones_like(snr);
  }
  throw std::logic_error("[loss_weight] not a LossWeighting");
}

}  // namespace

Tensor loss_per_image(const LossConfig& config, const Tensor& prediction, const Tensor& target) {
  check_arg(prediction.sizes() == target.sizes() && prediction.dim() >= 2,
            "[loss_per_image] prediction must be [N, ...] like the target: expected ",
            target.sizes(), ", got ", prediction.sizes());
  const auto in_float32 = [](const Tensor& x) { return x.to(at::kFloat); };
  switch (config.kind) {
    case LossKind::kL1:
      return mean_of_images(
          at::l1_loss(in_float32(prediction), in_float32(target), at::Reduction::None));
    case LossKind::kL2:
      return squared_error_per_image(prediction, target);
    case LossKind::kHuber:
      return mean_of_images(at::huber_loss(in_float32(prediction), in_float32(target),
                                           at::Reduction::None, config.huber_delta));
    case LossKind::kVlb:
    case LossKind::kRescaledKl:
    case LossKind::kHybrid:
    case LossKind::kCrossEntropy:
      check_arg(false, "[loss_per_image] kind must be a distance: expected l1, l2 or huber, got ",
                enum_word(config.kind));
  }
  throw std::logic_error("[loss_per_image] not a LossKind");
}

Tensor loss_weight_table(const LossConfig& config, PredictionType prediction,
                         const NoiseSchedule& schedule) {
  // At SNR = 0 the quotients' limit, to within what float32 can tell from it.
  const Tensor snr = schedule.snr.clamp_min(kTinySnr);
  const Tensor plain = plain_x_start_weights(prediction, schedule.sigma_data, snr);
  return (x_start_weights(config, plain, snr) / plain).to(at::kFloat);
}

Tensor loss_weight(const LossConfig& config, PredictionType prediction,
                   const NoiseSchedule& schedule, const Tensor& t) {
  return loss_weight_table(config, prediction, schedule).index_select(/*dim=*/0, t);
}

}  // namespace ddpm
