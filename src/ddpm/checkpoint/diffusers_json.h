#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace ddpm {

/// The version whose files ours are equal to.
inline constexpr const char* kDiffusersVersion = "0.42.1";

/// The `_class_name` of a diffusers configuration, or `default_name`.
///
/// @throws std::invalid_argument, naming the file, if `json` is no object or the name no string.
std::string class_name_of(const nlohmann::json& json, const std::string& default_name,
                          const std::string& where);

/// A configuration without the keys that begin with '_', which diffusers keeps for itself.
nlohmann::json without_private_keys(const nlohmann::json& json);

/// Removes an option that is supported at one value only; absent is that value.
///
/// @throws std::invalid_argument, naming file, key and value, for another value.
void take_fixed(nlohmann::json& values, const char* key, const nlohmann::json& only,
                const std::string& where);

}  // namespace ddpm
