#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace ddpm {

/// `value` as JSON, for a message: about 60 bytes at most.
std::string describe_json(const nlohmann::json& value);

/// `text` for a message: about 60 bytes at most, control characters as '?'.
std::string one_line(std::string text);

}  // namespace ddpm
