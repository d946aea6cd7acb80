#include "ddpm/loss/training_loss.h"

#include <ATen/ATen.h>

#include <stdexcept>

#include "ddpm/diffusion/prediction.h"
#include "ddpm/loss/cross_entropy.h"
#include "ddpm/loss/diffusion_loss.h"
#include "ddpm/loss/vlb.h"

namespace ddpm {
namespace {

ImageLosses distance(const LossConfig& config, const NoiseSchedule& schedule,
                     PredictionType prediction, const Tensor& weights, const LossInputs& in) {
  const Tensor target = training_target(schedule, prediction, in.x_start, in.t, in.noise);
  const Tensor plain = loss_per_image(config, in.output, target);
  if (!weights.defined()) return {plain, plain};
  return {plain * weights.index_select(/*dim=*/0, in.t), plain};
}

Tensor bound(const NoiseSchedule& schedule, PredictionType prediction, const LossInputs& in) {
  const ReverseGaussian p =
      reverse_gaussian(schedule, prediction, in.x_t, in.t, in.output.to(at::kFloat));
  return vlb_term(schedule, in.x_start, in.x_t, in.t, p);
}

ImageLosses hybrid(const LossConfig& config, const NoiseSchedule& schedule,
                   PredictionType prediction, const Tensor& weights, const LossInputs& in) {
  LossConfig l2 = config;
  l2.kind = LossKind::kL2;
  const auto [predicted, v] = split_output(in.output, in.x_start.size(1));
  LossInputs for_mean = in;
  for_mean.output = predicted;
  LossInputs for_variance = in;
  for_variance.output = at::cat({predicted.detach(), v}, /*dim=*/1);
  const ImageLosses mean_loss = distance(l2, schedule, prediction, weights, for_mean);
  const double share = config.vlb_weight * static_cast<double>(schedule.num_timesteps());
  return {mean_loss.objective + share * bound(schedule, prediction, for_variance), mean_loss.plain};
}

}  // namespace

ImageLosses training_losses(const LossConfig& config, const NoiseSchedule& schedule,
                            PredictionType prediction, const Tensor& weights,
                            const LossInputs& inputs) {
  switch (config.kind) {
    case LossKind::kL1:
    case LossKind::kL2:
    case LossKind::kHuber:
      return distance(config, schedule, prediction, weights, inputs);
    case LossKind::kVlb: {
      const Tensor term = bound(schedule, prediction, inputs);
      return {term, term};
    }
    case LossKind::kRescaledKl: {
      const Tensor whole =
          static_cast<double>(schedule.num_timesteps()) * bound(schedule, prediction, inputs);
      return {whole, whole};
    }
    case LossKind::kHybrid:
      return hybrid(config, schedule, prediction, weights, inputs);
    case LossKind::kCrossEntropy: {
      const Tensor loss = cross_entropy(inputs.output, inputs.labels);
      return {loss, loss, is_top_class(inputs.output, inputs.labels)};
    }
  }
  throw std::logic_error("[training_losses] not a LossKind");
}

}  // namespace ddpm
