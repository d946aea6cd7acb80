#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "ddpm/core/tensor.h"

namespace ddpm {

/// Reads arrays of a NumPy .npz as np.savez writes it: a zip of stored .npy files (format 1 or 2).
///
/// @param names without ".npy".
/// @return      those of the names that the file has: uint8, int64, float32 or float64, on the CPU.
/// @throws std::runtime_error, naming file and array, if the file can't be read, is no zip, is
///         damaged, or an array is compressed, of another dtype, or not in C order.
std::map<std::string, Tensor> read_npz(const std::filesystem::path& path,
                                       const std::vector<std::string>& names);

}  // namespace ddpm
