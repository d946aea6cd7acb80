#pragma once

#include <string>

#include "ddpm/checkpoint/safetensors.h"

namespace ddpm {

class NetworkImpl;

/// Copies `weights` into the network's parameters and buffers of the same names.
///
/// @param source the file or folder that errors name.
/// @throws std::invalid_argument if a name is missing or unknown, or a shape differs.
void load_weights(NetworkImpl& network, const NamedTensors& weights, const std::string& source);

}  // namespace ddpm
