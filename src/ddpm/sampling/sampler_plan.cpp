#include "ddpm/sampling/sampler_plan.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <set>
#include <stdexcept>
#include <utility>

#include "ddpm/core/check.h"
#include "ddpm/sampling/sampler_families.h"

namespace ddpm {
namespace {

constexpr int kUnipcOrder = 3;
constexpr int kDeisOrder = 3;
constexpr int kLmsOrder = 4;

void check_option(const char* field, double value, double min, double max) {
  check_arg(value >= min && value <= max, "[make_sampler_plan] ", field,
            " is out of range: expected ", min, " to ", max, ", got ", value);
}

void check_options(const SamplerOptions& options) {
  const double any = std::numeric_limits<double>::max();
  check_option("eta", options.eta, 0, 1);
  check_option("ancestral_eta", options.ancestral_eta, 0, 1);
  check_option("clip_range", options.clip_range, 0, any);
  check_option("dynamic_ratio", options.dynamic_ratio, 0, 1);
  check_option("dynamic_max", options.dynamic_max, 1, any);
  check_option("rho", options.rho, 1, any);
  check_option("sigma_min", options.sigma_min, 0, any);
  check_option("sigma_max", options.sigma_max, 0, any);
  check_option("s_churn", options.s_churn, 0, any);
  check_option("s_tmin", options.s_tmin, 0, any);
  check_option("s_tmax", options.s_tmax, 0, any);
  check_option("s_noise", options.s_noise, 0, any);
}

/// The order asked for, or the highest; only unipc, deis and lms come in several.
int resolve_order(const SamplerOptions& options, int highest) {
  check_arg(options.order >= 0 && options.order <= highest, "[make_sampler_plan] order of ",
            enum_word(options.kind), ": expected 1 to ", highest, ", or 0 for the highest, got ",
            options.order);
  return options.order == 0 ? highest : static_cast<int>(options.order);
}

VarianceType resolve_variance(const NoiseSchedule& schedule, VarianceOverride choice) {
  switch (choice) {
    case VarianceOverride::kModel:
      return schedule.variance;
    case VarianceOverride::kFixedSmall:
      return VarianceType::kFixedSmall;
    case VarianceOverride::kFixedLarge:
      return VarianceType::kFixedLarge;
  }
  throw std::logic_error("[make_sampler_plan] not a VarianceOverride");
}

void check_levels(const NoiseSchedule& schedule, PredictionType prediction, const Levels& levels) {
  check_arg(levels.size() >= 2, "[make_sampler_plan] levels: expected 2 or more, got ",
            levels.size());
  for (size_t i = 1; i < levels.size(); ++i) {
    check_arg(levels[i].alpha_bar > levels[i - 1].alpha_bar,
              "[make_sampler_plan] alpha_bar must ascend along the levels: expected more than ",
              levels[i - 1].alpha_bar, ", got ", levels[i].alpha_bar);
  }
  check_arg(!schedule.zero_terminal_snr || !needs_signal(prediction), "[make_sampler_plan] ",
            enum_word(prediction),
            " says nothing about x_start where alpha_bar is 0: expected prediction sample or "
            "v_prediction with zero terminal SNR, got ",
            enum_word(prediction));
}

SamplerCalls churned_calls(const LevelTable& table, const SamplerOptions& options,
                           const Levels& levels) {
  const Levels churned = churned_levels(table, levels, options);
  return options.kind == SamplerKind::kEuler ? euler_calls(levels, churned, options.s_noise)
                                             : heun_calls(levels, churned, options.s_noise);
}

SamplerCalls calls_of(const NoiseSchedule& schedule, const SamplerOptions& options,
                      const Levels& levels) {
  using enum UpdateForm;
  const SlopeRule slope =
      options.solver_type == SolverType::kMidpoint ? SlopeRule::kMidpoint : SlopeRule::kExact;
  const StepRule data{.form = kXStart, .slope = slope};
  const StepRule sde{.form = kXStart, .slope = slope, .eta = options.ancestral_eta};
  const bool lower = options.lower_order_final;
  switch (options.kind) {
    case SamplerKind::kDdpm:
      return ddpm_calls(levels, resolve_variance(schedule, options.variance));
    case SamplerKind::kDdim:
      return ddim_calls(levels, options.eta);
    case SamplerKind::kEulerAncestral:
      return ddim_calls(levels, options.ancestral_eta);
    case SamplerKind::kEuler:
    case SamplerKind::kHeun:
      return churned_calls(make_level_table(schedule), options, levels);
    case SamplerKind::kDpmpp2s:
      return singlestep_calls(levels, data, /*order=*/2, lower);
    case SamplerKind::kDpmpp3s:
      return singlestep_calls(levels, {.form = kXStart}, /*order=*/3, lower);
    case SamplerKind::kDpmpp2m:
      return multistep_calls(levels, data, /*order=*/2, lower);
    case SamplerKind::kDpmpp3m:
      return multistep_calls(levels, data, /*order=*/3, lower);
    case SamplerKind::kDpmpp2mSde:
      return multistep_calls(levels, sde, /*order=*/2, lower);
    case SamplerKind::kDpmpp3mSde:
      return multistep_calls(levels, sde, /*order=*/3, lower);
    case SamplerKind::kDpm2s:
      return singlestep_calls(levels, {.form = kEps, .slope = slope}, /*order=*/2, lower);
    case SamplerKind::kDpm3s:
      return singlestep_calls(levels, {.form = kEps}, /*order=*/3, lower);
    case SamplerKind::kUnipc:
      return unipc_calls(levels, resolve_order(options, kUnipcOrder), options.unipc, lower);
    case SamplerKind::kDeis:
      return multistep_calls(levels, {.form = kEps}, resolve_order(options, kDeisOrder), lower);
    case SamplerKind::kLms:
      return multistep_calls(levels, {.form = kSigma}, resolve_order(options, kLmsOrder), lower);
    case SamplerKind::kPndm:
      return pndm_calls(levels, make_level_table(schedule));
    case SamplerKind::kPlms:
      return plms_calls(levels);
  }
  throw std::logic_error("[make_sampler_plan] not a SamplerKind");
}

void set_x_start_coefficients(SamplerCall& call, PredictionType prediction, double sigma_data) {
  const double a = call.level.alpha_bar;
  switch (prediction) {
    case PredictionType::kEpsilon:
      call.x_start_from_x_t = 1 / std::sqrt(a);
      call.x_start_from_output = -std::sqrt((1 - a) / a);
      return;
    case PredictionType::kSample:
      call.x_start_from_x_t = 0;
      call.x_start_from_output = 1;
      return;
    case PredictionType::kVelocity:
      call.x_start_from_x_t = std::sqrt(a);
      call.x_start_from_output = -std::sqrt(1 - a);
      return;
    case PredictionType::kEdm: {
      const double n = 1 - a + a * sigma_data * sigma_data;
      call.x_start_from_x_t = std::sqrt(a) * sigma_data * sigma_data / n;
      call.x_start_from_output = sigma_data * std::sqrt((1 - a) / n);
      return;
    }
  }
  throw std::logic_error("[make_sampler_plan] not a PredictionType");
}

/// Keys of the noise: the timestep, or the call's index where that would draw the same noise twice.
void set_noise_steps(SamplerPlan& plan) {
  std::set<double> timesteps;
  bool by_timestep = plan.whole_timesteps;
  for (const SamplerCall& call : plan.calls) {
    if (call.next.noise != 0) by_timestep = timesteps.insert(call.level.t).second && by_timestep;
  }
  for (size_t i = 0; i < plan.calls.size(); ++i) {
    SamplerCall& call = plan.calls[i];
    call.noise_step = by_timestep ? static_cast<uint32_t>(call.level.t) : static_cast<uint32_t>(i);
  }
}

SamplerPlan finish_plan(const NoiseSchedule& schedule, PredictionType prediction,
                        SamplerCalls calls) {
  SamplerPlan plan;
  plan.calls = std::move(calls);
  plan.whole_timesteps =
      std::all_of(plan.calls.begin(), plan.calls.end(),
                  [](const SamplerCall& call) { return call.level.t == std::floor(call.level.t); });
  plan.learned_variance = schedule.variance == VarianceType::kLearnedRange;
  for (SamplerCall& call : plan.calls) {
    set_x_start_coefficients(call, prediction, schedule.sigma_data);
  }
  set_noise_steps(plan);
  return plan;
}

}  // namespace

int64_t SamplerPlan::num_steps() const {
  return std::count_if(calls.begin(), calls.end(),
                       [](const SamplerCall& call) { return call.ends_step; });
}

SamplerPlan make_sampler_plan(const NoiseSchedule& schedule, PredictionType prediction,
                              const SamplerOptions& options) {
  check_options(options);
  return make_sampler_plan(schedule, prediction, options, make_levels(schedule, options));
}

SamplerPlan make_sampler_plan(const NoiseSchedule& schedule, PredictionType prediction,
                              const SamplerOptions& options, const Levels& levels) {
  check_options(options);
  check_levels(schedule, prediction, levels);
  return finish_plan(schedule, prediction, calls_of(schedule, options, levels));
}

SamplerPlan make_inversion_plan(const NoiseSchedule& schedule, PredictionType prediction,
                                const SamplerOptions& options) {
  check_options(options);
  check_arg(options.final_sigma == FinalSigma::kZero,
            "[make_inversion_plan] final_sigma: expected zero, where the image is, got ",
            enum_word(options.final_sigma));
  Levels levels = make_levels(schedule, options);
  check_levels(schedule, prediction, levels);
  std::reverse(levels.begin(), levels.end());
  return finish_plan(schedule, prediction, inversion_calls(levels));
}

}  // namespace ddpm
