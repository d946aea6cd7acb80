#pragma once

#include <string>
#include <utility>
#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Tensors in a fixed order, each under its name.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

}  // namespace ddpm
