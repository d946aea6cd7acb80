#pragma once

#include <array>
#include <cstdint>

#include "ddpm/config/field.h"

namespace ddpm {

/// The samplers, by the field's names (sampling/sampler_families.h has their formulas). m:
/// multistep, s: singlestep, a and sde: with noise in every step.
enum class SamplerKind {
  kDdpm,
  kDdim,
  kEuler,
  kEulerAncestral,
  kHeun,
  kDpmpp2s,
  kDpmpp3s,
  kDpmpp2m,
  kDpmpp3m,
  kDpmpp2mSde,
  kDpmpp3mSde,
  kDpm2s,
  kDpm3s,
  kUnipc,
  kDeis,
  kLms,
  kPndm,
  kPlms
};
/// Which of the T timesteps a shorter list visits (sampling/timesteps.h has the formulas).
enum class TimestepSpacing { kLeading, kLinspace, kTrailing };
/// Where a sampler's noise levels lie: at the schedule's own timesteps, or at sigmas of the EDM
/// view, with fractional timesteps (sampling/levels.h has the formulas).
enum class LevelSpacing { kAuto, kTimesteps, kKarras, kExponential, kUniformLambda };
/// Where a list of levels ends: at the image, or at the noise of the schedule's first timestep.
enum class FinalSigma { kZero, kSigmaMin };
/// How a solver counts a slope that two values give: by its midpoint form, or exactly (heun).
enum class SolverType { kMidpoint, kHeun };
/// B(h) of UniPC: h, or exp(h) - 1 [UniPC Sec. 3.1].
enum class UnipcVariant { kBh1, kBh2 };
/// What is done to the predicted x_0 in every step. x_t itself is never clamped.
enum class X0Clip { kNone, kClip, kDynamic };
/// Variance of ancestral steps: the one the model was made with, or another one.
enum class VarianceOverride { kModel, kFixedSmall, kFixedLarge };

template <>
struct EnumNames<SamplerKind> {
  static constexpr std::array names{
      "ddpm",     "ddim",     "euler",    "euler_a",      "heun",         "dpmpp_2s",
      "dpmpp_3s", "dpmpp_2m", "dpmpp_3m", "dpmpp_2m_sde", "dpmpp_3m_sde", "dpm_2s",
      "dpm_3s",   "unipc",    "deis",     "lms",          "pndm",         "plms"};
};
template <>
struct EnumNames<LevelSpacing> {
  static constexpr std::array names{"auto", "timesteps", "karras", "exponential", "uniform_lambda"};
};
template <>
struct EnumNames<FinalSigma> {
  static constexpr std::array names{"zero", "sigma_min"};
};
template <>
struct EnumNames<SolverType> {
  static constexpr std::array names{"midpoint", "heun"};
};
template <>
struct EnumNames<UnipcVariant> {
  static constexpr std::array names{"bh1", "bh2"};
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
  bool drop_last = false;
  int64_t steps_offset = 0;
  LevelSpacing levels = LevelSpacing::kAuto;
  double rho = 7.0;
  double sigma_min = 0.0;
  double sigma_max = 0.0;
  FinalSigma final_sigma = FinalSigma::kZero;
  double eta = 0.0;
  double ancestral_eta = 1.0;
  int64_t order = 0;
  bool lower_order_final = true;
  SolverType solver_type = SolverType::kMidpoint;
  UnipcVariant unipc = UnipcVariant::kBh2;
  double s_churn = 0.0;
  double s_tmin = 0.0;
  double s_tmax = 1e6;
  double s_noise = 1.0;
  X0Clip clip = X0Clip::kClip;
  double clip_range = 1.0;
  double dynamic_ratio = 0.995;
  double dynamic_max = 100.0;
  VarianceOverride variance = VarianceOverride::kModel;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    visit("kind", kind,
          "ddpm: ancestral sampling; ddim: fewer steps, without noise at eta = 0; dpmpp_2m, unipc, "
          "heun and others: fewer still; *_a and *_sde: with noise in every step");
    visit("steps", steps,
          "noise levels from noise to image; 0: the sampler's default (ddpm: all T; first-order "
          "ones: 50; others: 20 to 30). heun calls the network about twice a level",
          at_least(0));
    visit("spacing", spacing, "levels = timesteps: which of them a list of fewer than T visits");
    visit("drop_last", drop_last,
          "leading, linspace: a list of one timestep more without its last, as diffusers' "
          "DPM-Solver, UniPC and DEIS take");
    visit("steps_offset", steps_offset, "leading: added to every timestep", between(0, 1'000'000));
    visit("levels", levels,
          "timesteps, or sigmas of the EDM view with fractional timesteps: karras (by rho), "
          "exponential or uniform_lambda (the same list by its two names). auto: timesteps, but "
          "karras below sigma 80 for heun, dpm_2s, dpm_3s, pndm and plms where the schedule's last "
          "sigma is above 200, as the cosine one's is");
    visit("rho", rho,
          "levels = karras: 1 takes equal steps of sigma, more makes them shorter at "
          "the image",
          at_least(1));
    visit("sigma_min", sigma_min, "lowest sigma of levels other than timesteps; 0: the schedule's",
          at_least(0));
    visit("sigma_max", sigma_max, "highest sigma of levels other than timesteps; 0: the schedule's",
          at_least(0));
    visit("final_sigma", final_sigma,
          "where the list ends: zero, the image; sigma_min, the noise of the first timestep");
    visit("eta", eta, "ddim: noise of a step, 0 none, 1 as much as ddpm", between(0, 1));
    visit("ancestral_eta", ancestral_eta,
          "euler_a, dpmpp_2m_sde, dpmpp_3m_sde: noise of a step, 0 "
          "none, 1 that of the reverse process",
          between(0, 1));
    visit("order", order, "unipc, deis: 1 to 3; lms: 1 to 4; 0: the highest", between(0, 4));
    visit("lower_order_final", lower_order_final,
          "dpm*, unipc, deis: first order in the last step and second in the one before (deis and "
          "dpmpp_*m* that end at sigma_min: below 15 steps); false: in a step to the image alone");
    visit("solver_type", solver_type,
          "dpmpp_2s, dpm_2s, dpmpp_*m*: a slope known from two values counts by its midpoint form, "
          "or exactly (heun)");
    visit("unipc", unipc, "unipc: B(h) = h (bh1) or exp(h) - 1 (bh2)");
    visit("s_churn", s_churn, "euler, heun: noise added over all steps, as EDM has it; 0: none",
          at_least(0));
    visit("s_tmin", s_tmin, "euler, heun: lowest sigma that churn raises", at_least(0));
    visit("s_tmax", s_tmax, "euler, heun: highest sigma that churn raises", at_least(0));
    visit("s_noise", s_noise, "euler, heun: standard deviation of churn's noise", at_least(0));
    visit("clip", clip, "predicted x_0: left alone, clipped, or scaled into [-1, 1]");
    visit("clip_range", clip_range, "clip = clip: to plus and minus this", at_least(0));
    visit("dynamic_ratio", dynamic_ratio, "clip = dynamic: quantile of |x_0| that becomes 1",
          between(0, 1));
    visit("dynamic_max", dynamic_max, "clip = dynamic: largest value that is scaled to 1",
          at_least(1));
    visit("variance", variance, "ddpm: variance of a step; model: what the network was made with");
  }
};

}  // namespace ddpm
