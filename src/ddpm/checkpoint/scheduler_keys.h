#pragma once

#include <nlohmann/json.hpp>

#include <array>
#include <string>
#include <vector>

#include "ddpm/checkpoint/scheduler_options.h"
#include "ddpm/config/diffusion_config.h"
#include "ddpm/config/field.h"

namespace ddpm {

enum class BetaSchedule { kLinear, kScaledLinear, kSquaredCos, kSigmoid };

template <>
struct EnumNames<BetaSchedule> {
  static constexpr std::array names{"linear", "scaled_linear", "squaredcos_cap_v2", "sigmoid"};
};

/// The keys of a scheduler's class with their values: those of its file, apart from keys that are
/// supported at one value only.
struct SchedulerKeys {
  SchedulerOptions options;
  int64_t num_train_timesteps = 1000;
  double beta_start = 1e-4;
  double beta_end = 0.02;
  BetaSchedule beta_schedule = BetaSchedule::kLinear;
  std::vector<double> trained_betas = {};
  PredictionType prediction_type = PredictionType::kEpsilon;
  VarianceType variance_type = VarianceType::kFixedSmall;
  bool rescale_betas_zero_snr = false;
  bool set_alpha_to_one = true;
  bool use_karras_sigmas = false;
  bool use_exponential_sigmas = false;
  bool use_lu_lambdas = false;

  template <typename Visitor>
  void visit_fields(Visitor&& visit) {
    using enum SchedulerKeyGroup;
    const auto has = [this](SchedulerKeyGroup group) { return has_keys(options.scheduler, group); };
    visit_schedule(visit);
    if (has(kVariance)) visit("variance_type", variance_type, "variance of ancestral sampling");
    if (has(kClipSample)) {
      visit("clip_sample", options.clip_sample, "clip the predicted x_0");
      visit("clip_sample_range", options.clip_sample_range, "to plus and minus this", at_least(0));
    }
    if (has(kThresholding)) {
      visit("thresholding", options.thresholding, "dynamic thresholding of the predicted x_0");
      visit("dynamic_thresholding_ratio", options.dynamic_thresholding_ratio, "its quantile",
            between(0, 1));
      visit("sample_max_value", options.sample_max_value, "its largest threshold", at_least(1));
    }
    if (has(kSpacing)) {
      visit("timestep_spacing", options.timestep_spacing, "which timesteps a list visits");
      visit("steps_offset", options.steps_offset, "leading: added to each", between(0, 1'000'000));
    }
    if (has(kAlphaToOne)) visit("set_alpha_to_one", set_alpha_to_one, "end at the image");
    if (has(kFinalSigmas)) visit("final_sigmas_type", options.final_sigma, "where lists end");
    visit_solver(visit);
  }

 private:
  template <typename Visitor>
  void visit_schedule(Visitor&& visit) {
    visit("num_train_timesteps", num_train_timesteps, "T", between(1, 1'000'000));
    visit("beta_start", beta_start, "first beta", between(0, 1));
    visit("beta_end", beta_end, "last beta", between(0, 1));
    visit("beta_schedule", beta_schedule, "noise schedule");
    visit("trained_betas", trained_betas, "every beta, instead of a schedule");
    visit("prediction_type", prediction_type, "what the network predicts");
    if (has_keys(options.scheduler, SchedulerKeyGroup::kZeroSnr)) {
      visit("rescale_betas_zero_snr", rescale_betas_zero_snr, "rescale to zero terminal SNR");
    }
  }

  template <typename Visitor>
  void visit_solver(Visitor&& visit) {
    using enum SchedulerKeyGroup;
    const SchedulerClass scheduler = options.scheduler;
    if (has_keys(scheduler, kSigmas)) {
      visit("use_karras_sigmas", use_karras_sigmas, "levels of EDM's list");
      visit("use_exponential_sigmas", use_exponential_sigmas, "levels equal in log sigma");
    }
    if (has_keys(scheduler, kSigmaEnds)) {
      visit("sigma_min", options.sigma_min, "lowest of such levels", at_least(1e-6));
      visit("sigma_max", options.sigma_max, "highest of such levels", at_least(1e-6));
    }
    if (has_keys(scheduler, kOrder)) {
      visit("solver_order", options.solver_order, "of the solver", between(1, 3));
      visit("lower_order_final", options.lower_order_final, "lower orders in the last steps");
    }
    if (has_keys(scheduler, kDpmSolver)) {
      visit("algorithm_type", options.algorithm, "what is integrated");
      visit("solver_type", options.solver_type, "how a slope counts");
    }
    if (scheduler == SchedulerClass::kDpmSolverMultistep) {
      visit("euler_at_final", options.euler_at_final, "first order in the last step");
      visit("use_lu_lambdas", use_lu_lambdas, "levels equal in lambda");
    }
    if (scheduler == SchedulerClass::kUnipc) visit("solver_type", options.unipc, "B(h)");
    if (scheduler == SchedulerClass::kPndm) {
      visit("skip_prk_steps", options.skip_prk_steps, "begin without Runge-Kutta steps");
    }
  }
};

/// The keys of a class at diffusers' defaults.
SchedulerKeys default_scheduler_keys(SchedulerClass scheduler);

/// A file's values, without those that begin with '_'. Keys that other schedulers have and this one
/// lacks mean nothing to it, as in diffusers, whose from_config leaves them in files: they are
/// listed in `unused_keys`.
///
/// @throws std::invalid_argument, naming file, key and value, for a key that no scheduler has or a
///         value that is not supported.
SchedulerKeys read_scheduler_keys(SchedulerClass scheduler, nlohmann::json values,
                                  const std::string& where, std::vector<std::string>& unused_keys);

/// Every key that diffusers writes for the class, and no other.
nlohmann::json scheduler_keys_to_json(SchedulerKeys keys);

/// Stands in JSON values for the number that JSON lacks (lambda_min_clipped's default); the file
/// has it without quotes, as Python's json writes and reads it.
inline constexpr const char* kMinusInfinity = "-Infinity";

}  // namespace ddpm
