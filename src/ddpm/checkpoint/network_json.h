#pragma once

#include <nlohmann/json.hpp>

#include <string>

#include "ddpm/checkpoint/safetensors.h"
#include "ddpm/config/model_config.h"

namespace ddpm {

/// Whether diffusers' UNet2DModel computes the same: a UNet2D whose own options are at their
/// defaults. weight_init doesn't count: it says how training starts.
bool is_diffusers_network(const ModelConfig& config);

/// config.json. For a network that diffusers has: every key of its UNet2DModel and only those, null
/// where we write 0 or none. Otherwise the class is ours: UNet2D, with the options that diffusers
/// lacks and "ddpm." before its block types, so that diffusers refuses it; SimpleUnet with
/// SimpleUnetConfig's fields; or DdpmClassifier with ClassifierConfig's. weight_init is left out.
///
/// @throws std::invalid_argument if the number of channels is unresolved (0).
nlohmann::json network_to_json(const ModelConfig& config);

/// Reads config.json. Keys that begin with '_' are allowed; absent keys have diffusers' defaults.
///
/// @param where the file, for errors.
/// @throws std::invalid_argument, naming file, key and value, for another class, an unknown key or
///         a value that is not supported.
ModelConfig network_from_json(const nlohmann::json& json, const std::string& where);

/// Gives attention weights that go by diffusers' older names (query, key, value, proj_attn) the
/// ones of today (to_q, to_k, to_v, to_out.0).
///
/// @throws std::invalid_argument, naming the tensor, if a tensor is there under both names.
void rename_old_attention(NamedTensors& weights, const std::string& where);

}  // namespace ddpm
