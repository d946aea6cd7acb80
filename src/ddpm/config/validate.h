#pragma once

#include <string>

#include "ddpm/config/run_config.h"

namespace ddpm {

/// Checks what concerns more than one field of `config`; what needs data or a network comes later.
///
/// @param where what the message names first, for example the recipe's file.
/// @throws std::invalid_argument that names the fields.
void validate(const RunConfig& config, const std::string& where = "validate");

}  // namespace ddpm
