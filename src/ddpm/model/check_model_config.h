#pragma once

#include "ddpm/config/model_config.h"

namespace ddpm {

/// Checks that a network can be built from `config`: lists of equal length, channels that the
/// groups and the heads divide, sizes that are resolved, supported options.
///
/// @throws std::invalid_argument that names the field.
void check_model_config(const ModelConfig& config);

}  // namespace ddpm
