#pragma once

#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm::cuda {

/// Whether bytes can be copied as they are: each tensor dense, with its target's device, dtype and
/// strides.
bool copies_tensors_at_once(const std::vector<Tensor>& from, const std::vector<Tensor>& to);
/// copy_tensors() of them.
void copy_tensors_at_once(const std::vector<Tensor>& from, const std::vector<Tensor>& to);

}  // namespace ddpm::cuda
