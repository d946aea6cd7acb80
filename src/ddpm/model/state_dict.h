#pragma once

#include <torch/nn/module.h>

#include <string>

#include "ddpm/core/named_tensors.h"

namespace ddpm {

/// All parameters and buffers in PyTorch's order: a module's own parameters, then its own buffers,
/// then its children's. The tensors are the module's own, not copies.
NamedTensors state_dict(const torch::nn::Module& module);

/// Checks that `tensors`, in any order, are those of the module's state dict.
///
/// @param where what the message names first, for example the file that the tensors came from.
/// @throws std::invalid_argument if a tensor is missing, unknown, there twice, or of another shape.
void check_state_dict(const torch::nn::Module& module, const NamedTensors& tensors,
                      const std::string& where);

/// Copies `tensors`, in any order, into the module's; dtypes and devices are converted.
///
/// @throws std::invalid_argument, before anything is changed, as check_state_dict().
void load_state_dict(torch::nn::Module& module, const NamedTensors& tensors,
                     const std::string& where);

}  // namespace ddpm
