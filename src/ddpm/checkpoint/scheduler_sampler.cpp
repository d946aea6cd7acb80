#include "ddpm/checkpoint/scheduler_sampler.h"

#include <stdexcept>

#include "ddpm/core/check.h"

namespace ddpm {
namespace {

/// One of three kinds, by solver_order 1, 2 or 3.
SamplerKind of_order(int64_t order, SamplerKind first, SamplerKind second, SamplerKind third) {
  if (order == 1) return first;
  return order == 2 ? second : third;
}

SamplerKind kind_of(const SchedulerOptions& options) {
  using enum SamplerKind;
  const int64_t order = options.solver_order;
  switch (options.scheduler) {
    case SchedulerClass::kDdpm:
    case SchedulerClass::kDdim:
      return kDdim;
    case SchedulerClass::kDpmSolverMultistep:
      return options.algorithm == SolverAlgorithm::kSdeDpmSolverPlusPlus
                 ? of_order(order, kEulerAncestral, kDpmpp2mSde, kDpmpp3mSde)
                 : of_order(order, kDdim, kDpmpp2m, kDpmpp3m);
    case SchedulerClass::kDpmSolverSinglestep:
      return options.algorithm == SolverAlgorithm::kDpmSolver
                 ? of_order(order, kDdim, kDpm2s, kDpm3s)
                 : of_order(order, kDdim, kDpmpp2s, kDpmpp3s);
    case SchedulerClass::kUnipc:
      return kUnipc;
    case SchedulerClass::kDeis:
      return kDeis;
    case SchedulerClass::kEuler:
      return kEuler;
    case SchedulerClass::kEulerAncestral:
      return kEulerAncestral;
    case SchedulerClass::kHeun:
      return kHeun;
    case SchedulerClass::kLms:
      return kLms;
    case SchedulerClass::kPndm:
      return options.skip_prk_steps ? kPlms : kPndm;
  }
  throw std::logic_error("[sampler_of_scheduler] not a SchedulerClass");
}

X0Clip clip_of(const SchedulerOptions& options) {
  if (options.thresholding) return X0Clip::kDynamic;
  return options.clip_sample ? X0Clip::kClip : X0Clip::kNone;
}

SchedulerOptions multistep(int64_t order, SolverAlgorithm algorithm) {
  SchedulerOptions options = default_scheduler(SchedulerClass::kDpmSolverMultistep);
  options.solver_order = order;
  options.algorithm = algorithm;
  return options;
}

SchedulerOptions singlestep(int64_t order, SolverAlgorithm algorithm) {
  SchedulerOptions options = default_scheduler(SchedulerClass::kDpmSolverSinglestep);
  options.solver_order = order;
  options.algorithm = algorithm;
  if (order == 3) options.solver_type = SolverType::kHeun;
  if (algorithm == SolverAlgorithm::kDpmSolver) options.final_sigma = FinalSigma::kSigmaMin;
  options.lower_order_final = true;  // else diffusers changes it itself, with a warning
  return options;
}

SchedulerOptions with_order(SchedulerClass scheduler, int64_t order) {
  SchedulerOptions options = default_scheduler(scheduler);
  options.solver_order = order;
  return options;
}

SchedulerOptions pndm(bool skip_prk_steps) {
  SchedulerOptions options = default_scheduler(SchedulerClass::kPndm);
  options.final_sigma = FinalSigma::kZero;
  options.skip_prk_steps = skip_prk_steps;
  return options;
}

/// The class and what makes it the sampler, at the sampler's own defaults.
SchedulerOptions scheduler_of_kind(SamplerKind kind) {
  using enum SolverAlgorithm;
  constexpr int64_t kHighestOrder = 3;
  switch (kind) {
    case SamplerKind::kDdpm:
      return default_scheduler(SchedulerClass::kDdpm);
    case SamplerKind::kDdim:
      return default_scheduler(SchedulerClass::kDdim);
    case SamplerKind::kEuler:
      return default_scheduler(SchedulerClass::kEuler);
    case SamplerKind::kEulerAncestral:
      return default_scheduler(SchedulerClass::kEulerAncestral);
    case SamplerKind::kHeun:
      return default_scheduler(SchedulerClass::kHeun);
    case SamplerKind::kDpmpp2s:
      return singlestep(2, kDpmSolverPlusPlus);
    case SamplerKind::kDpmpp3s:
      return singlestep(3, kDpmSolverPlusPlus);
    case SamplerKind::kDpmpp2m:
      return multistep(2, kDpmSolverPlusPlus);
    case SamplerKind::kDpmpp3m:
      return multistep(3, kDpmSolverPlusPlus);
    case SamplerKind::kDpmpp2mSde:
      return multistep(2, kSdeDpmSolverPlusPlus);
    case SamplerKind::kDpmpp3mSde:
      return multistep(3, kSdeDpmSolverPlusPlus);
    case SamplerKind::kDpm2s:
      return singlestep(2, kDpmSolver);
    case SamplerKind::kDpm3s:
      return singlestep(3, kDpmSolver);
    case SamplerKind::kUnipc:
      return with_order(SchedulerClass::kUnipc, kHighestOrder);
    case SamplerKind::kDeis:
      return with_order(SchedulerClass::kDeis, kHighestOrder);
    case SamplerKind::kLms:
      return default_scheduler(SchedulerClass::kLms);
    case SamplerKind::kPndm:
      return pndm(/*skip_prk_steps=*/false);
    case SamplerKind::kPlms:
      return pndm(/*skip_prk_steps=*/true);
  }
  throw std::logic_error("[scheduler_of_sampler] not a SamplerKind");
}

/// `from`'s clipping as far as the class has it; thresholding with the largest threshold 1 is
/// clipping to [-1, 1]. diffusers' DPM-Solver of eps has thresholding and fails with it.
///
/// @return whether the class has it.
bool take_clipping(const SchedulerOptions& from, SchedulerOptions& options) {
  const bool has_thresholding = has_keys(options.scheduler, SchedulerKeyGroup::kThresholding) &&
                                options.algorithm != SolverAlgorithm::kDpmSolver;
  if (has_keys(options.scheduler, SchedulerKeyGroup::kClipSample)) {
    options.clip_sample = from.clip_sample && (has_thresholding || !from.thresholding);
    options.clip_sample_range = from.clip_sample_range;
  }
  if (has_thresholding) {
    options.thresholding = from.thresholding;
    options.dynamic_thresholding_ratio = from.dynamic_thresholding_ratio;
    options.sample_max_value = from.sample_max_value;
    if (clip_of(options) == X0Clip::kNone && from.clip_sample && from.clip_sample_range == 1) {
      options.thresholding = true;
      options.sample_max_value = 1;
    }
  }
  return clip_of(options) != X0Clip::kNone || clip_of(from) == X0Clip::kNone;
}

/// What reading `options` again would draw otherwise than --sampler does.
void note_other_lists(SamplerKind kind, const SchedulerOptions& options,
                      std::vector<std::string>& notes) {
  const char* scheduler = enum_word(options.scheduler);
  if (options.final_sigma != FinalSigma::kZero) {
    notes.push_back(c10::str(scheduler, " has no place for a last step to the image: it ends at ",
                             "the noise of the first timestep"));
  }
  if (has_keys(options.scheduler, SchedulerKeyGroup::kOrder) &&
      options.timestep_spacing != TimestepSpacing::kTrailing) {
    notes.push_back(c10::str(scheduler, " has no place for lists of n timesteps with ",
                             enum_word(options.timestep_spacing),
                             " spacing: it takes those of n + 1 less the last"));
  }
  if (kind == SamplerKind::kDpmpp3m || kind == SamplerKind::kDpmpp3mSde) {
    notes.push_back(c10::str("diffusers' ", scheduler, " has another step of order 3 than ",
                             enum_word(kind), ": it draws other images"));
  }
}

}  // namespace

SamplerOptions sampler_of_scheduler(const SchedulerOptions& options) {
  const bool has_order =
      options.scheduler == SchedulerClass::kUnipc || options.scheduler == SchedulerClass::kDeis;
  // These two have no word for sigmas; who takes another sampler with them wants its own levels.
  const bool says_levels =
      options.scheduler != SchedulerClass::kDdpm && options.scheduler != SchedulerClass::kDdim;
  return {.kind = kind_of(options),
          .spacing = options.timestep_spacing,
          .drop_last = has_keys(options.scheduler, SchedulerKeyGroup::kOrder),
          .steps_offset = options.steps_offset,
          .levels = says_levels ? options.sigmas : LevelSpacing::kAuto,
          .sigma_min = options.sigma_min,
          .sigma_max = options.sigma_max,
          .final_sigma = options.final_sigma,
          .order = has_order ? options.solver_order : 0,
          .lower_order_final = options.lower_order_final,
          .solver_type = options.solver_type,
          .unipc = options.unipc,
          .clip = clip_of(options),
          .clip_range = options.clip_sample_range,
          .dynamic_ratio = options.dynamic_thresholding_ratio,
          .dynamic_max = options.sample_max_value};
}

SchedulerChoice scheduler_of_sampler(SamplerKind kind, const SchedulerOptions& from,
                                     VarianceType variance) {
  SchedulerChoice choice{.options = scheduler_of_kind(kind), .notes = {}};
  SchedulerOptions& options = choice.options;
  const auto lacks = [&](const std::string& what) {
    choice.notes.push_back(
        c10::str(enum_word(options.scheduler), " has no place for ", what, ": it is left out"));
  };
  if (!take_clipping(from, options)) lacks("the clipping of the predicted x_0");
  if (has_keys(options.scheduler, SchedulerKeyGroup::kSpacing)) {
    options.timestep_spacing = from.timestep_spacing;
    options.steps_offset = from.steps_offset;
  } else if (from.timestep_spacing != options.timestep_spacing) {
    lacks(c10::str("timestep_spacing ", enum_word(from.timestep_spacing)));
  }
  if (variance == VarianceType::kFixedLarge &&
      !has_keys(options.scheduler, SchedulerKeyGroup::kVariance)) {
    lacks("variance fixed_large");
  }
  note_other_lists(kind, options, choice.notes);
  return choice;
}

std::vector<std::string> scheduler_differences(const SchedulerOptions& options) {
  using enum SchedulerClass;
  std::vector<std::string> notes;
  if (options.sigmas == LevelSpacing::kTimesteps) return notes;
  const char* scheduler = enum_word(options.scheduler);
  const bool has_own_ends = options.sigma_min > 0 && options.sigma_max > 0;
  const bool takes_spaced_ends =
      options.scheduler == kEuler || options.scheduler == kHeun || options.scheduler == kLms;
  if (takes_spaced_ends && !has_own_ends &&
      options.timestep_spacing != TimestepSpacing::kLinspace) {
    notes.push_back(c10::str("diffusers' ", scheduler, " takes the ends of its ",
                             enum_word(options.sigmas), " sigmas from the ",
                             enum_word(options.timestep_spacing),
                             " list of timesteps, sampling here from the whole schedule"));
  }
  if (has_keys(options.scheduler, SchedulerKeyGroup::kOrder) &&
      options.final_sigma == FinalSigma::kSigmaMin) {
    notes.push_back(c10::str("diffusers' ", scheduler, " ends its ", enum_word(options.sigmas),
                             " sigmas with a step that stays where it is and counts for the ",
                             "orders, sampling here without it"));
  }
  return notes;
}

}  // namespace ddpm
