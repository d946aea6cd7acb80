#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "ddpm/config/field_list.h"
#include "ddpm/config/run_config.h"

namespace ddpm {

/// TOML text and overrides "a.b=c" as a tree of values, each with its file and line. An override's
/// value is read as a TOML value; what is none (a bare word, a path) is taken as text.
///
/// @throws std::invalid_argument if the text is not TOML or an override is not "name=value".
ConfigTree parse_toml(const std::string& text, const std::string& name,
                      const std::vector<std::string>& overrides);

/// TOML with every field, its help as a comment; sections in the order of the field list.
std::string fields_to_toml(const std::vector<Field>& fields);

template <typename Config>
std::string to_toml(Config config) {
  return fields_to_toml(list_fields(config));
}

/// Reads TOML into a Config; absent fields keep their defaults. Errors as in from_json, with file
/// and line, or with the override.
template <typename Config>
Config from_toml(const std::string& text, const std::string& name,
                 const std::vector<std::string>& overrides = {}) {
  Config config;
  assign_fields(list_fields(config), parse_toml(text, name, overrides));
  return config;
}

/// A recipe from its text; `name` is the file that errors name. The result is validated.
///
/// @throws std::invalid_argument, one sentence, that names file, line and field.
RunConfig parse_recipe(const std::string& text, const std::string& name,
                       const std::vector<std::string>& overrides = {});

/// As parse_recipe, from a file.
///
/// @throws std::invalid_argument also if there is no such file.
RunConfig load_recipe(const std::filesystem::path& path,
                      const std::vector<std::string>& overrides = {});

}  // namespace ddpm
