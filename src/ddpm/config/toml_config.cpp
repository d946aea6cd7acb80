#include "ddpm/config/toml_config.h"

#include <cmath>
#include <limits>

#include "ddpm/config/validate.h"
#include "ddpm/core/check.h"
#include "ddpm/core/file.h"

namespace ddpm {
namespace {

using nlohmann::json;

/// Of JSON's text, TOML refuses only a raw DEL.
std::string toml_text(const json& value) {
  std::string text = value.dump();
  for (size_t at = text.find('\x7f'); at != std::string::npos; at = text.find('\x7f', at)) {
    text.replace(at, 1, "\\u007F");
  }
  return text;
}

std::string toml_number(double number, const std::string& key) {
  check_arg(std::isfinite(number), "[to_toml] '", key, "': expected a finite number, got ", number);
  const std::string text = number_text(number);
  return text.find_first_of(".e") == std::string::npos ? text + ".0" : text;
}

std::string toml_value(const json& value, const std::string& key) {
  if (value.is_array()) {
    std::string list;
    for (const json& element : value) list += (list.empty() ? "" : ", ") + toml_value(element, key);
    return "[" + list + "]";
  }
  if (value.is_number_float()) return toml_number(value.get<double>(), key);
  if (value.is_string()) return toml_text(value);
  if (value.is_number_unsigned()) {
    const auto number = value.get<uint64_t>();
    check_arg(number <= std::numeric_limits<int64_t>::max(), "[to_toml] '", key,
              "': expected at most 2^63 - 1, got ", number);
  }
  return value.dump();
}

/// The fields right in `section` ("" for the top), not those of its own sections.
std::string section_body(const std::vector<Field>& fields, const std::string& section) {
  const size_t start = section.empty() ? 0 : section.size() + 1;
  std::string text;
  for (const Field& field : fields) {
    const bool inside = section.empty() || field.key.starts_with(section + ".");
    if (field.type == FieldType::kSection || !inside) continue;
    const std::string name = field.key.substr(start);
    if (name.find('.') != std::string::npos) continue;
    text += "# " + field.help + "\n" + name + " = " + toml_value(field.get(), field.key) + "\n";
  }
  return text;
}

}  // namespace

std::string fields_to_toml(const std::vector<Field>& fields) {
  std::string text = section_body(fields, "");
  for (const Field& field : fields) {
    if (field.type != FieldType::kSection) continue;
    if (!text.empty()) text += "\n";
    text += "# " + field.help + "\n[" + field.key + "]\n" + section_body(fields, field.key);
  }
  return text;
}

RunConfig parse_recipe(const std::string& text, const std::string& name,
                       const std::vector<std::string>& overrides) {
  const auto config = from_toml<RunConfig>(text, name, overrides);
  validate(config, name);
  return config;
}

RunConfig load_recipe(const std::filesystem::path& path,
                      const std::vector<std::string>& overrides) {
  std::error_code ignored;
  check_arg(std::filesystem::exists(path, ignored) && !std::filesystem::is_directory(path, ignored),
            "[load_recipe] no such recipe: expected a TOML file, got '", path.string(), "'");
  return parse_recipe(read_text_file(path), path.string(), overrides);
}

}  // namespace ddpm
