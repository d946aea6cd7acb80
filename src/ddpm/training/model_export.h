#pragma once

#include <cstdint>
#include <filesystem>
#include <string>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/config/run_config.h"
#include "ddpm/data/image_set.h"

namespace ddpm {

/// Writes weights of a run as a model folder, which sampling and diffusers load. A model folder
/// that is there is replaced.
///
/// @param config  resolved.
/// @param weights the network's state dict; a run exports its EMA.
/// @param images  what the run trains on: its name and classes are noted.
/// @return        the model hash.
/// @throws std::invalid_argument if the path holds something else than a model folder.
/// @throws std::runtime_error if it can't be written.
std::string export_model_folder(const std::filesystem::path& path, const RunConfig& config,
                                const NamedTensors& weights, const ImageSet& images, int64_t step);

}  // namespace ddpm
