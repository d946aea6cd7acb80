#pragma once

#include <nlohmann/json.hpp>

#include <string>

#include "ddpm/config/field_list.h"

namespace ddpm {

/// `config` as nested JSON objects; enums are their words.
template <typename Config>
nlohmann::json config_to_json(Config config) {
  return fields_to_json(list_fields(config));
}

/// Reads `object`'s members into a Config; absent fields keep their defaults.
///
/// @param where what the message names first: the file that the JSON came from.
/// @throws std::invalid_argument for an unknown field (it names the nearest known one), a wrong
///         type, a value out of range, a word that the enum lacks.
template <typename Config>
Config config_from_json(const nlohmann::json& object, const std::string& where) {
  Config config;
  assign_fields(list_fields(config), {.values = object, .name = where, .origins = {}});
  return config;
}

}  // namespace ddpm
