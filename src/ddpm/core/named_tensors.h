#pragma once

#include <algorithm>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Tensors in a fixed order, each under its name.
using NamedTensors = std::vector<std::pair<std::string, Tensor>>;

/// The tensor of that name, or null.
inline const Tensor* find_tensor(const NamedTensors& tensors, const std::string& name) {
  const auto found = std::find_if(tensors.begin(), tensors.end(),
                                  [&](const auto& tensor) { return tensor.first == name; });
  return found == tensors.end() ? nullptr : &found->second;
}

}  // namespace ddpm
