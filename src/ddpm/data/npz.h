#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

using NamedArrays = std::vector<std::pair<std::string, Tensor>>;

/// Arrays as NumPy's .npz: a stored (not deflated) zip of .npy files, which `numpy.load` and
/// guided-diffusion's evaluator read.
///
/// @param arrays names without ".npy" and CPU tensors: uint8, int64, float32 or float64, any shape.
/// @throws std::invalid_argument for another dtype, or for 4 GiB and more in all.
std::vector<uint8_t> encode_npz(const NamedArrays& arrays);

/// encode_npz to a file, which appears whole or not at all.
///
/// @throws std::invalid_argument as encode_npz does; std::runtime_error if it can't be written.
void write_npz(const std::filesystem::path& path, const NamedArrays& arrays);

}  // namespace ddpm
