#pragma once

#include <string>
#include <vector>

#include "ddpm/config/field_list.h"

namespace ddpm {

/// One line a field for --help: name, type and range, default, help.
std::string fields_help(const std::vector<Field>& fields);

template <typename Config>
std::string field_help(Config config) {
  return fields_help(list_fields(config));
}

/// docs/config.md: a recipe's sections, a table each. CONTRIBUTING.md says how to write it anew.
std::string config_markdown();

}  // namespace ddpm
