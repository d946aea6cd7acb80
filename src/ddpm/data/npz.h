#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Writes arrays as NumPy's .npz: a stored (not deflated) zip of .npy files, which `numpy.load` and
/// guided-diffusion's evaluator read. The file appears whole or not at all.
///
/// @param arrays names without ".npy" and CPU tensors: uint8, int64, float32 or float64, any shape.
/// @throws std::invalid_argument for another dtype, or an array of 4 GiB and more.
/// @throws std::runtime_error if the file can't be written.
void write_npz(const std::filesystem::path& path,
               const std::vector<std::pair<std::string, Tensor>>& arrays);

}  // namespace ddpm
