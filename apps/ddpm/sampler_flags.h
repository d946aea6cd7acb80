#pragma once

#include <map>
#include <string>

#include "ddpm/config/sample_config.h"

namespace CLI {
class App;
}

namespace ddpm::app {

/// What was given on the command line: a field of SamplerOptions -> its value as text.
using SamplerFlags = std::map<std::string, std::string>;

/// Adds a flag for each field of SamplerOptions (docs/config.md), with its help, range and default.
void add_sampler_flags(CLI::App& command, SamplerFlags& flags);

/// `options` with what was given put in. Another kind of sampler than theirs takes only clipping,
/// spacing and offset from them.
///
/// @throws std::invalid_argument that names the flag, for a wrong type or a value out of range.
SamplerOptions with_sampler_flags(SamplerOptions options, const SamplerFlags& flags);

}  // namespace ddpm::app
