#pragma once

#include <string>
#include <vector>

#include "ddpm/checkpoint/scheduler_options.h"
#include "ddpm/config/diffusion_config.h"
#include "ddpm/config/sample_config.h"

namespace ddpm {

/// The sampler that a scheduler's file describes; docs/decisions.md says where ours differs from
/// diffusers' on purpose. DDPMScheduler is what every run writes and names no sampler: its options
/// are those of ddim.
SamplerOptions sampler_of_scheduler(const SchedulerOptions& options);

/// A sentence for each thing in which that sampler's list of sigmas (karras, exponential,
/// uniform_lambda) is not what diffusers makes of the same file.
std::vector<std::string> scheduler_differences(const SchedulerOptions& options);

/// A scheduler, and a sentence for each thing that it has no place for or does otherwise.
struct SchedulerChoice {
  SchedulerOptions options;
  std::vector<std::string> notes;
};

/// diffusers' scheduler that draws as a sampler of ours does, with the clipping, spacing and offset
/// of `from` as far as its class has them.
///
/// @param variance the model's: classes without variance_type lose fixed_large.
SchedulerChoice scheduler_of_sampler(SamplerKind kind, const SchedulerOptions& from,
                                     VarianceType variance);

}  // namespace ddpm
