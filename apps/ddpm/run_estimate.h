#pragma once

#include <nlohmann/json.hpp>

#include "ddpm/config/run_config.h"
#include "ddpm/data/image_set.h"

namespace ddpm::app {

/// The recipe with all sizes that come from the data filled in.
///
/// @throws std::invalid_argument if network and data don't fit.
RunConfig resolve_recipe(RunConfig recipe, const ImageSet& set);

/// What a run of the recipe would take: data, parameters, memory and time, from two training steps
/// that are really taken on a small batch.
///
/// @param recipe resolved.
nlohmann::ordered_json estimate_run(const RunConfig& recipe, const ImageSet& set);

/// Loads the recipe's data, then estimate_run.
nlohmann::ordered_json describe_run(const RunConfig& recipe);

}  // namespace ddpm::app
