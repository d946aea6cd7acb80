#pragma once

#include <nlohmann/json.hpp>

#include <string>

namespace ddpm {

/// `value` as JSON, for a message: about 60 bytes at most.
std::string describe_json(const nlohmann::json& value);

}  // namespace ddpm
