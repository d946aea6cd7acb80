#pragma once

#include <functional>
#include <string>
#include <vector>

#include "ddpm/config/field_list.h"

namespace CLI {
class App;
}

namespace ddpm::app {

/// Adds a flag for each field, with its help, range and default; a list is given as a,b,c. What is
/// given is checked and set at once.
///
/// @param fields of options that outlive the command.
/// @param flag   name of the flag for a field's key.
void add_field_flags(CLI::App& command, const std::vector<Field>& fields, const std::string& group,
                     const std::function<std::string(const std::string& key)>& flag);

}  // namespace ddpm::app
