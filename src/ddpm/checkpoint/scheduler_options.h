#pragma once

#include <array>
#include <cstdint>

#include "ddpm/config/field.h"
#include "ddpm/config/sample_config.h"

namespace ddpm {

/// diffusers' schedulers that are read and written.
enum class SchedulerClass {
  kDdpm,
  kDdim,
  kDpmSolverMultistep,
  kDpmSolverSinglestep,
  kUnipc,
  kDeis,
  kEuler,
  kEulerAncestral,
  kHeun,
  kLms,
  kPndm
};
/// What a DPM-Solver integrates: eps, x_0, or x_0 with the noise of the reverse SDE.
enum class SolverAlgorithm { kDpmSolver, kDpmSolverPlusPlus, kSdeDpmSolverPlusPlus };

template <>
struct EnumNames<SchedulerClass> {
  static constexpr std::array names{"DDPMScheduler",
                                    "DDIMScheduler",
                                    "DPMSolverMultistepScheduler",
                                    "DPMSolverSinglestepScheduler",
                                    "UniPCMultistepScheduler",
                                    "DEISMultistepScheduler",
                                    "EulerDiscreteScheduler",
                                    "EulerAncestralDiscreteScheduler",
                                    "HeunDiscreteScheduler",
                                    "LMSDiscreteScheduler",
                                    "PNDMScheduler"};
};
template <>
struct EnumNames<SolverAlgorithm> {
  static constexpr std::array names{"dpmsolver", "dpmsolver++", "sde-dpmsolver++"};
};

/// Keys of scheduler_config.json that a class has all of, or none.
enum class SchedulerKeyGroup {
  kSpacing,       ///< timestep_spacing, steps_offset
  kZeroSnr,       ///< rescale_betas_zero_snr
  kVariance,      ///< variance_type; null stands for a fixed one in DPM-Solver's
  kClipSample,    ///< clip_sample, clip_sample_range
  kThresholding,  ///< thresholding, dynamic_thresholding_ratio, sample_max_value
  kAlphaToOne,    ///< set_alpha_to_one: final_sigma, under another name
  kFinalSigmas,   ///< final_sigmas_type
  kSigmas,        ///< use_karras_sigmas, use_exponential_sigmas, use_beta_sigmas
  kSigmaEnds,     ///< sigma_min, sigma_max
  kOrder,         ///< solver_order, lower_order_final, and the keys of flow matching
  kDpmSolver      ///< algorithm_type, solver_type (midpoint, heun), lambda_min_clipped
};
bool has_keys(SchedulerClass scheduler, SchedulerKeyGroup group);

/// How diffusers' scheduler file says to sample; sampling starts from these
/// (sampler_of_scheduler). The defaults are DDPMScheduler's.
struct SchedulerOptions {
  SchedulerClass scheduler = SchedulerClass::kDdpm;
  bool clip_sample = true;
  double clip_sample_range = 1.0;
  bool thresholding = false;
  double dynamic_thresholding_ratio = 0.995;
  double sample_max_value = 1.0;
  TimestepSpacing timestep_spacing = TimestepSpacing::kLeading;
  int64_t steps_offset = 0;
  LevelSpacing sigmas = LevelSpacing::kTimesteps;
  double sigma_min = 0;  ///< 0: null, the schedule's.
  double sigma_max = 0;
  FinalSigma final_sigma = FinalSigma::kZero;
  int64_t solver_order = 2;
  SolverAlgorithm algorithm = SolverAlgorithm::kDpmSolverPlusPlus;
  SolverType solver_type = SolverType::kMidpoint;
  UnipcVariant unipc = UnipcVariant::kBh2;
  bool lower_order_final = true;
  bool euler_at_final = false;
  bool skip_prk_steps = false;

  bool operator==(const SchedulerOptions&) const = default;
};

/// What diffusers' constructor of a class takes where nothing is given. Options that the class
/// lacks have the value that does nothing.
SchedulerOptions default_scheduler(SchedulerClass scheduler);

}  // namespace ddpm
