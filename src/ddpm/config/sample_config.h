#pragma once

#include <array>
#include <cstdint>

#include "ddpm/config/field.h"

namespace ddpm {

/// Ancestral sampling [DDPM Alg. 2], or DDIM [DDIM Eq. 12].
enum class SamplerKind { kDdpm, kDdim };
/// Which of the T timesteps a shorter list visits (sampling/timesteps.h has the formulas).
enum class TimestepSpacing { kLeading, kLinspace, kTrailing };
/// What is done to the predicted x_0 in every step. x_t itself is never clamped.
enum class X0Clip { kNone, kClip, kDynamic };
/// Variance of ancestral steps: the one the model was made with, or another one.
enum class VarianceOverride { kModel, kFixedSmall, kFixedLarge };

template <>
struct EnumNames<SamplerKind> {
  static constexpr std::array names{"ddpm", "ddim"};
};
template <>
struct EnumNames<TimestepSpacing> {
  static constexpr std::array names{"leading", "linspace", "trailing"};
};
template <>
struct EnumNames<X0Clip> {
  static constexpr std::array names{"none", "clip", "dynamic"};
};
template <>
struct EnumNames<VarianceOverride> {
  static constexpr std::array names{"model", "fixed_small", "fixed_large"};
};

/// How images are drawn from a trained network.
struct SamplerOptions {
  SamplerKind kind = SamplerKind::kDdim;
  int64_t steps = 0;
  TimestepSpacing spacing = TimestepSpacing::kTrailing;
  double eta = 0.0;
  X0Clip clip = X0Clip::kClip;
  double dynamic_ratio = 0.995;
  double dynamic_max = 100.0;
  VarianceOverride variance = VarianceOverride::kModel;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("kind", kind, "ddpm: ancestral sampling; ddim: fewer steps, without noise at eta = 0");
    visit("steps", steps, "network calls an image; 0: all T for ddpm, 50 (or T if less) for ddim",
          at_least(0));
    visit("spacing", spacing, "which timesteps a list of fewer than T visits");
    visit("eta", eta, "ddim: noise of a step, 0 none, 1 as much as ddpm", between(0, 1));
    visit("clip", clip, "predicted x_0: left alone, clipped to [-1, 1], or scaled into it");
    visit("dynamic_ratio", dynamic_ratio, "clip = dynamic: quantile of |x_0| that becomes 1",
          between(0, 1));
    visit("dynamic_max", dynamic_max, "clip = dynamic: largest value that is scaled to 1",
          at_least(1));
    visit("variance", variance, "ddpm: variance of a step; model: what the network was made with");
  }
};

}  // namespace ddpm
