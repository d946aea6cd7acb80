#include <algorithm>
#include <cctype>
#include <string_view>
#include <toml++/toml.h>

#include "ddpm/config/toml_config.h"
#include "ddpm/core/check.h"
#include "ddpm/core/one_line.h"

namespace ddpm {
namespace {

using nlohmann::json;

/// Copies TOML nodes into JSON and notes where each key stands.
class TomlToJson {
 public:
  /// @param place the origin of every key; empty: `name` and the line.
  TomlToJson(std::string name, std::string place, std::map<std::string, std::string>& origins)
      : name_(std::move(name)), place_(std::move(place)), origins_(origins) {}

  json convert(const toml::node& node, const std::string& key) {
    const std::string origin = place_.empty() ? line_of(node) : place_;
    origins_[key] = origin;
    if (const auto* table = node.as_table()) return convert_table(*table, key + ".");
    if (const auto* array = node.as_array()) return convert_array(*array, key);
    if (const auto* text = node.as_string()) return text->get();
    if (const auto* integer = node.as_integer()) return integer->get();
    if (const auto* number = node.as_floating_point()) return number->get();
    if (const auto* boolean = node.as_boolean()) return boolean->get();
    throw std::invalid_argument("[" + origin + "] wrong type for '" + one_line(key) +
                                "': expected no field that is a date or a time, got one");
  }

  json convert_table(const toml::table& table, const std::string& prefix) {
    json object = json::object();
    for (const auto& [key, node] : table) {
      const std::string name(key.str());
      object[name] = convert(node, prefix + name);
    }
    return object;
  }

 private:
  json convert_array(const toml::array& array, const std::string& key) {
    json list = json::array();
    for (const toml::node& node : array) list.push_back(convert(node, key + "[]"));
    return list;
  }

  std::string line_of(const toml::node& node) const {
    return name_ + ":" + std::to_string(node.source().begin.line);
  }

  std::string name_;
  std::string place_;
  std::map<std::string, std::string>& origins_;
};

bool is_plain_key(std::string_view key) {
  const bool plain = std::all_of(key.begin(), key.end(), [](unsigned char letter) {
    return std::isalnum(letter) != 0 || letter == '_' || letter == '-' || letter == '.';
  });
  const bool empty_part = key.find("..") != std::string_view::npos;
  return plain && !empty_part && !key.empty() && key.front() != '.' && key.back() != '.';
}

/// The TOML value that `text` is, or a table without "value" if it is a bare word.
toml::table parse_override_value(const std::string& text, const std::string& place) {
  try {
    toml::table table = toml::parse("value = " + text);
    const toml::node* const value = table.get("value");
    const bool single = table.size() == 1 && value != nullptr;
    return single && !value->is_date() && !value->is_time() && !value->is_date_time()
               ? std::move(table)
               : toml::table{};
  } catch (const toml::parse_error& error) {
    const bool looks_like_toml =
        !text.empty() && std::string_view("\"'[{").find(text.front()) != std::string_view::npos;
    check_arg(!looks_like_toml, "[", place, "] bad TOML value: ", error.description());
    return {};
  }
}

void apply_override(ConfigTree& tree, const std::string& text) {
  const std::string place = "--set " + one_line(text);
  const size_t equals = text.find('=');
  check_arg(equals != std::string::npos && is_plain_key(text.substr(0, equals)), "[", place,
            "] bad override: expected NAME=VALUE, such as train.steps=1000, got '", one_line(text),
            "'");
  const std::string key = text.substr(0, equals);
  const std::string value_text = text.substr(equals + 1);

  const toml::table parsed = parse_override_value(value_text, place);
  json value = value_text;
  tree.origins[key] = place;
  if (const toml::node* const node = parsed.get("value")) {
    value = TomlToJson(tree.name, place, tree.origins).convert(*node, key);
  }
  for (size_t end = key.size(); end != std::string::npos;) {  // "a.b": {"a": {"b": value}}
    const size_t dot = end == 0 ? std::string::npos : key.rfind('.', end - 1);
    const size_t begin = dot == std::string::npos ? 0 : dot + 1;
    value = json{{key.substr(begin, end - begin), std::move(value)}};
    end = dot;
  }
  tree.values.merge_patch(value);
}

}  // namespace

ConfigTree parse_toml(const std::string& text, const std::string& name,
                      const std::vector<std::string>& overrides) {
  ConfigTree tree{.values = json::object(), .name = name, .origins = {}};
  try {
    const toml::table table = toml::parse(text, name);
    tree.values = TomlToJson(name, "", tree.origins).convert_table(table, "");
  } catch (const toml::parse_error& error) {
    check_arg(false, "[", name, ":", error.source().begin.line,
              "] bad TOML: ", error.description());
  }
  for (const std::string& override_text : overrides) apply_override(tree, override_text);
  return tree;
}

}  // namespace ddpm
