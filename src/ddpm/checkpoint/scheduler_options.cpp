#include "ddpm/checkpoint/scheduler_options.h"

#include <algorithm>
#include <initializer_list>
#include <stdexcept>

namespace ddpm {

bool has_keys(SchedulerClass scheduler, SchedulerKeyGroup group) {
  using enum SchedulerClass;
  const auto one_of = [scheduler](std::initializer_list<SchedulerClass> classes) {
    return std::find(classes.begin(), classes.end(), scheduler) != classes.end();
  };
  switch (group) {
    case SchedulerKeyGroup::kSpacing:
      return scheduler != kDpmSolverSinglestep;
    case SchedulerKeyGroup::kZeroSnr:
      return one_of({kDdpm, kDdim, kDpmSolverMultistep, kUnipc, kEuler, kEulerAncestral});
    case SchedulerKeyGroup::kVariance:
      return one_of({kDdpm, kDpmSolverMultistep, kDpmSolverSinglestep});
    case SchedulerKeyGroup::kClipSample:
      return one_of({kDdpm, kDdim, kHeun});
    case SchedulerKeyGroup::kThresholding:
      return one_of({kDdpm, kDdim, kDpmSolverMultistep, kDpmSolverSinglestep, kUnipc, kDeis});
    case SchedulerKeyGroup::kAlphaToOne:
      return one_of({kDdim, kPndm});
    case SchedulerKeyGroup::kFinalSigmas:
      return one_of({kDpmSolverMultistep, kDpmSolverSinglestep, kUnipc, kEuler});
    case SchedulerKeyGroup::kSigmas:
      return one_of(
          {kDpmSolverMultistep, kDpmSolverSinglestep, kUnipc, kDeis, kEuler, kHeun, kLms});
    case SchedulerKeyGroup::kSigmaEnds:
      return one_of({kUnipc, kEuler});
    case SchedulerKeyGroup::kOrder:
      return one_of({kDpmSolverMultistep, kDpmSolverSinglestep, kUnipc, kDeis});
    case SchedulerKeyGroup::kDpmSolver:
      return one_of({kDpmSolverMultistep, kDpmSolverSinglestep});
  }
  throw std::logic_error("[has_keys] not a SchedulerKeyGroup");
}

SchedulerOptions default_scheduler(SchedulerClass scheduler) {
  SchedulerOptions options{.scheduler = scheduler};
  options.clip_sample = scheduler == SchedulerClass::kDdpm || scheduler == SchedulerClass::kDdim;
  switch (scheduler) {
    case SchedulerClass::kDdpm:
    case SchedulerClass::kDdim:
      return options;
    case SchedulerClass::kPndm:
      options.final_sigma = FinalSigma::kSigmaMin;
      return options;
    case SchedulerClass::kDeis:
      options.final_sigma = FinalSigma::kSigmaMin;
      break;
    case SchedulerClass::kDpmSolverSinglestep:
      options.lower_order_final = false;
      break;
    case SchedulerClass::kDpmSolverMultistep:
    case SchedulerClass::kUnipc:
    case SchedulerClass::kEuler:
    case SchedulerClass::kEulerAncestral:
    case SchedulerClass::kHeun:
    case SchedulerClass::kLms:
      break;
  }
  options.timestep_spacing = TimestepSpacing::kLinspace;
  return options;
}

}  // namespace ddpm
