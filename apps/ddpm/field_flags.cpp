#include "field_flags.h"

#include <CLI/CLI.hpp>

#include "ddpm/config/toml_config.h"

namespace ddpm::app {
namespace {

std::string default_of(const Field& field) {
  const nlohmann::json value = field.get();
  if (value.is_array() && value.empty()) return "";
  return value.is_number_float() ? number_text(value.get<double>()) : value.dump();
}

void set_field(const Field& field, const std::string& flag, const std::string& text) {
  const std::string value = field.is_list ? "[" + text + "]" : text;
  ConfigTree tree = parse_toml("", flag, {field.key + "=" + value});
  tree.origins[field.key] = flag;
  assign_fields({field}, tree);
}

}  // namespace

void add_field_flags(CLI::App& command, const std::vector<Field>& fields, const std::string& group,
                     const std::function<std::string(const std::string& key)>& flag) {
  for (const Field& field : fields) {
    const std::string name = flag(field.key);
    command
        .add_option_function<std::string>(
            name, [field, name](const std::string& text) { set_field(field, name, text); },
            field.help + " (" + describe_type(field) + ")")
        ->type_name("VALUE")
        ->default_str(default_of(field))
        ->group(group);
  }
}

}  // namespace ddpm::app
