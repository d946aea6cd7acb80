#pragma once

#include <string>
#include <vector>

#include "ddpm/config/sample_config.h"

namespace ddpm {

/// Options that a model's files ask for, for a sampler that someone chooses: unchanged for the
/// sampler they name; for another one its defaults, with their clipping, spacing and offset.
SamplerOptions options_for_sampler(const SamplerOptions& options, SamplerKind kind);

/// The fields of SamplerOptions, without `kind`, that make a difference to a sampler.
std::vector<std::string> options_read_by(SamplerKind kind);

}  // namespace ddpm
