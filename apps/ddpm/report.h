#pragma once

#include <nlohmann/json.hpp>

namespace ddpm::app {

/// Prints nested values as indented lines of name and value; an array under "table" as tensors.
void print_report(const nlohmann::ordered_json& report);

}  // namespace ddpm::app
