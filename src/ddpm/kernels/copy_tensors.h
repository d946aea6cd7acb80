#pragma once

#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// to[i] = from[i] for all of them; on a GPU in as few launches as can be.
///
/// @param to as many as `from`, each of the sizes of its own.
void copy_tensors(const std::vector<Tensor>& from, const std::vector<Tensor>& to);

}  // namespace ddpm
