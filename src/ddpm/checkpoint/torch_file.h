#pragma once

#include <cstdint>
#include <filesystem>
#include <span>
#include <string>

#include "ddpm/core/named_tensors.h"

namespace ddpm {

/// Reads the state dict of a .pth or .pt file that torch.save wrote, with pickle protocol 2 to 5,
/// as a zip archive or in the layout before PyTorch 1.6. Nothing of the file is run: the pickle may
/// hold tensors, numbers, strings, None and tuples, lists, sets and dicts of them.
///
/// The state dict is the object itself, or a dict in it that holds tensors under strings and
/// nothing else; prefixes that all names share because of how training wrapped the network
/// ("module.", "_orig_mod.") are taken off.
///
/// @param key which dict, as in "model_state_dict" or "ema/shadow"; needed where there are several.
/// @return    tensors in the file's order, contiguous, on the CPU, copied out of the file; types
///            float64 float32 float16 bfloat16 int64 int32 int16 int8 uint8 bool.
/// @throws std::invalid_argument, naming the file, and the class or the keys, if it holds an object
///         of another class (a pickled network, say), no state dict, several and no key, or none
///         of this key.
/// @throws std::runtime_error, naming the file and what is wrong, if it is damaged or not a file of
///         torch.save; or if its tensors, expanded from few stored numbers, take more than 4 times
///         its size and 16 MiB.
NamedTensors read_torch_file(const std::filesystem::path& path, const std::string& key = "");

/// The same for a file in memory; `name` stands for it in errors.
NamedTensors parse_torch_file(std::span<const std::uint8_t> bytes, const std::string& name,
                              const std::string& key = "");

}  // namespace ddpm
