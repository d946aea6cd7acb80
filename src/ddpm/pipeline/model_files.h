#pragma once

#include <filesystem>
#include <optional>
#include <string>

#include "ddpm/config/model_config.h"
#include "ddpm/core/named_tensors.h"

namespace ddpm {

/// Whether the path names weights alone: .pth, .pt, .bin, .ckpt or .safetensors, and no folder.
bool is_weights_file(const std::filesystem::path& path);

/// Reads a PyTorch file (read_torch_file) or a .safetensors file, whose tensors are mapped and
/// must not be written to.
///
/// @param key which state dict of a .pth file.
/// @throws std::invalid_argument if there is no such file, it holds no state dict, or a key is
///         given for a .safetensors file.
/// @throws std::runtime_error, naming the file, if it is damaged.
NamedTensors read_weights_file(const std::filesystem::path& path, const std::string& key = "");

/// The talk's network that has tensors of these names; nothing for other names. Shapes are not
/// compared: check_state_dict() does it.
std::optional<ModelConfig> talk_network_of(const NamedTensors& weights);

}  // namespace ddpm
