#pragma once

#include <cstdint>
#include <filesystem>

#include "ddpm/config/run_config.h"
#include "ddpm/data/image_set.h"

namespace ddpm::app {

/// `ddpm train --profile`: takes a few steps of a new run, `steps` of them under the profiler,
/// prints where their time went and writes FOLDER/profile/trace.json and
/// FOLDER/profile/kernels.csv. Nothing else of the folder is touched.
///
/// @param recipe resolved.
void profile_run(const RunConfig& recipe, const ImageSet& set,
                 const std::filesystem::path& run_folder, int64_t steps);

}  // namespace ddpm::app
