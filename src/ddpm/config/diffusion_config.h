#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "ddpm/config/field.h"

namespace ddpm {

/// Noise schedules, by the field's names. kLinearScaled multiplies both ends by 1000 / T
/// [IDDPM code]; kSigmoidBeta is GeoDiff's, on beta; kSigmoidAlphaBar is Jabri's, on alpha_bar.
enum class ScheduleKind {
  kLinear,
  kLinearScaled,
  kQuad,
  kCosine,
  kSigmoidBeta,
  kSigmoidAlphaBar,
  kConst,
  kJsd,
  kCustom
};
/// What the network's output means. kEdm is EDM's F, with its scaled input and c_noise in the place
/// of t (diffusion/edm.h).
enum class PredictionType { kEpsilon, kSample, kVelocity, kEdm };
/// True where the prediction says nothing about x_start, or is undefined, at alpha_bar = 0.
inline bool needs_signal(PredictionType prediction) {
  return prediction == PredictionType::kEpsilon || prediction == PredictionType::kEdm;
}
/// The variance of p(x_{t-1} | x_t): beta_tilde_t, beta_t, or between the two as the network says
/// [IDDPM Eq. 15]; it then answers twice the channels: its prediction, then v of each element.
enum class VarianceType { kFixedSmall, kFixedLarge, kLearnedRange };

template <>
struct EnumNames<ScheduleKind> {
  static constexpr std::array names{"linear", "linear_scaled", "quad",
                                    "cosine", "sigmoid_beta",  "sigmoid_alpha_bar",
                                    "const",  "jsd",           "custom"};
};
template <>
struct EnumNames<PredictionType> {
  static constexpr std::array names{"epsilon", "sample", "v_prediction", "edm"};
};
template <>
struct EnumNames<VarianceType> {
  static constexpr std::array names{"fixed_small", "fixed_large", "learned_range"};
};

/// The forward process, and what the network predicts about it.
struct DiffusionConfig {
  ScheduleKind schedule = ScheduleKind::kLinear;
  int64_t num_timesteps = 1000;
  double beta_start = 1e-4;
  double beta_end = 0.02;
  std::vector<double> betas;
  bool zero_terminal_snr = false;
  PredictionType prediction = PredictionType::kEpsilon;
  VarianceType variance = VarianceType::kFixedSmall;
  double sigma_data = 0.5;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("schedule", schedule, "noise schedule");
    visit("num_timesteps", num_timesteps, "T, the number of noising steps", between(1, 1'000'000));
    visit("beta_start", beta_start, "first beta of linear, quad, sigmoid_beta", between(0, 1));
    visit("beta_end", beta_end, "last beta of linear, quad, sigmoid_beta; const's beta",
          between(0, 1));
    visit("betas", betas, "schedule = custom: every beta, T of them");
    visit("zero_terminal_snr", zero_terminal_snr,
          "rescale so that x_T holds no signal; needs "
          "prediction sample or v_prediction");
    visit("prediction", prediction, "what the network predicts");
    visit("variance", variance,
          "variance of ancestral sampling; learned_range doubles the network's output");
    visit("sigma_data", sigma_data, "prediction = edm: standard deviation of the data's pixels",
          between(1e-3, 1e3));
  }
};

}  // namespace ddpm
