#pragma once

#include <string>
#include <vector>

#include "ddpm/config/diffusion_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/diffusion/betas.h"
#include "ddpm/diffusion/noise_schedule.h"
#include "ddpm/diffusion/prediction.h"
#include "ddpm/sampling/denoise_fn.h"

namespace ddpm::testing {

inline constexpr PredictionType kEveryPrediction[] = {
    PredictionType::kEpsilon, PredictionType::kSample, PredictionType::kVelocity};
inline constexpr TimestepSpacing kEverySpacing[] = {
    TimestepSpacing::kLeading, TimestepSpacing::kLinspace, TimestepSpacing::kTrailing};

/// alpha_bar falls from 0.99 to 0.005 in 50 timesteps.
inline NoiseSchedule short_schedule() { return make_schedule(make_linear_betas(50, 0.01, 0.2)); }

/// The talk's and the papers' 1000 timesteps.
inline NoiseSchedule long_schedule() { return make_schedule(make_linear_betas(1000, 1e-4, 0.02)); }

/// One case of each kind and, of those that come in several orders, of each order; without
/// clipping.
inline std::vector<SamplerOptions> every_kind() {
  std::vector<SamplerOptions> all;
  for (size_t i = 0; i < EnumNames<SamplerKind>::names.size(); ++i) {
    all.push_back({.kind = static_cast<SamplerKind>(i), .steps = 10, .clip = X0Clip::kNone});
  }
  for (const SamplerKind kind : {SamplerKind::kUnipc, SamplerKind::kDeis, SamplerKind::kLms}) {
    for (const int64_t order : {1, 2}) {
      all.push_back({.kind = kind, .steps = 10, .order = order, .clip = X0Clip::kNone});
    }
  }
  all.push_back({.kind = SamplerKind::kHeun, .steps = 10, .s_churn = 3, .clip = X0Clip::kNone});
  all.push_back({.kind = SamplerKind::kEuler, .steps = 10, .s_churn = 3, .clip = X0Clip::kNone});
  return all;
}

/// Each first-order sampler of t and variance: ddpm small and large, ddim at eta 0, 0.6 and 1. No
/// clipping.
inline std::vector<SamplerOptions> every_sampler() {
  std::vector<SamplerOptions> all;
  for (const auto variance : {VarianceOverride::kFixedSmall, VarianceOverride::kFixedLarge}) {
    all.push_back({.kind = SamplerKind::kDdpm, .clip = X0Clip::kNone, .variance = variance});
  }
  for (const double eta : {0.0, 0.6, 1.0}) {
    all.push_back({.kind = SamplerKind::kDdim, .eta = eta, .clip = X0Clip::kNone});
  }
  return all;
}

/// Turns a rule for x_0 into a network of the wanted prediction type.
inline DenoiseFn as_prediction(const NoiseSchedule& schedule, PredictionType prediction,
                               const DenoiseFn& x_start_rule) {
  return [=](const Tensor& x_t, const Tensor& t) {
    const Tensor x_start = x_start_rule(x_t, t);
    const Tensor eps = predict_eps(schedule, PredictionType::kSample, x_t, t, x_start);
    return training_target(schedule, prediction, x_start, t, eps);
  };
}

/// A perfect network for a data set of one image.
inline DenoiseFn oracle(const NoiseSchedule& schedule, PredictionType prediction,
                        const Tensor& image) {
  return as_prediction(schedule, prediction,
                       [=](const Tensor& x_t, const Tensor&) { return image.expand_as(x_t); });
}

inline std::string describe(const SamplerOptions& o, PredictionType prediction) {
  return std::string(enum_word(o.kind)) + ", order " + std::to_string(o.order) + ", churn " +
         std::to_string(o.s_churn) + ", levels " + enum_word(o.levels) + ", variance " +
         enum_word(o.variance) + ", eta " + std::to_string(o.eta) + ", spacing " +
         std::to_string(static_cast<int>(o.spacing)) + ", steps " + std::to_string(o.steps) +
         ", prediction " + std::to_string(static_cast<int>(prediction));
}

}  // namespace ddpm::testing
