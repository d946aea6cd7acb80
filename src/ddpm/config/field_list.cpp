#include "ddpm/config/field_list.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <cmath>
#include <limits>

#include "ddpm/config/nearest_name.h"
#include "ddpm/config/printable.h"
#include "ddpm/core/check.h"
#include "ddpm/core/one_line.h"

namespace ddpm {
namespace {

using nlohmann::json;

std::string last_name(const std::string& key) { return key.substr(key.rfind('.') + 1); }

/// "train." of "train.steps", "" of "train".
std::string section_of(const std::string& key) { return key.substr(0, key.rfind('.') + 1); }

std::string describe_value(const json& value) {
  if (value.is_object()) return "a table";
  if (value.is_null()) return "nothing";
  if (value.is_array()) return "the list " + describe_json(value);
  if (value.is_string()) return "the text " + describe_json(value);
  if (value.is_number_float()) return number_text(value.get<double>());
  return describe_json(value);
}

std::string quoted(const std::string& key) { return c10::str("'", one_line(key), "'"); }

std::string join(const std::vector<std::string>& words) {
  std::string text;
  for (const std::string& word : words) text += (text.empty() ? "" : ", ") + word;
  return text;
}

std::string describe_range(const Range& range) {
  const bool has_min = std::isfinite(range.min);
  const bool has_max = std::isfinite(range.max);
  if (has_min && has_max) return "from " + number_text(range.min) + " to " + number_text(range.max);
  if (has_min) return "at least " + number_text(range.min);
  if (has_max) return "at most " + number_text(range.max);
  return "";
}

std::string describe_element(const Field& field) {
  const std::string range = describe_range(field.range);
  const std::string suffix = range.empty() ? "" : " " + range;
  switch (field.type) {
    case FieldType::kSection:
      return "table";
    case FieldType::kBool:
      return "true or false";
    case FieldType::kInteger:
      return "integer" + suffix;
    case FieldType::kUnsigned:
      return "integer" + suffix;
    case FieldType::kNumber:
      return "number" + suffix;
    case FieldType::kText:
      return "text";
    case FieldType::kWord:
      return "one of " + join(field.words);
  }
  throw std::logic_error("[describe_element] not a FieldType");
}

bool is_utf8(const json& text) {
  try {
    return !text.dump().empty();
  } catch (const json::type_error&) {
    return false;
  }
}

bool has_type(FieldType type, const json& value) {
  switch (type) {
    case FieldType::kSection:
      return value.is_object();
    case FieldType::kBool:
      return value.is_boolean();
    case FieldType::kInteger:
    case FieldType::kUnsigned:
      return value.is_number_integer();
    case FieldType::kNumber:
      return value.is_number();
    case FieldType::kText:
      return value.is_string() && is_utf8(value);
    case FieldType::kWord:
      return value.is_string();
  }
  throw std::logic_error("[has_type] not a FieldType");
}

/// NaN is in no range; infinity is not, even where the range has no end.
bool in_range(const Field& field, const json& value) {
  constexpr auto kLargest = std::numeric_limits<int64_t>::max();  // of TOML's integers
  if (value.is_number_unsigned() && value.get<uint64_t>() > kLargest) return false;
  if (field.type == FieldType::kUnsigned && value < 0) return false;
  const auto number = value.get<double>();
  return std::isfinite(number) && number >= field.range.min && number <= field.range.max;
}

/// Checks every value of a tree against the fields.
class TreeChecker {
 public:
  TreeChecker(const std::vector<Field>& fields, const ConfigTree& tree)
      : fields_(fields), tree_(tree) {}

  void check_section(const json& section, const std::string& prefix) const {
    for (const auto& [name, value] : section.items()) {
      const std::string key = prefix + name;
      const Field* const field = name.find('.') == std::string::npos ? find(key) : nullptr;
      if (field == nullptr) fail_unknown(key, prefix);
      if (!field->is_list) {
        check_element(*field, value, key, key);
        if (field->type == FieldType::kSection) check_section(value, key + ".");
        continue;
      }
      check_arg(value.is_array(), place(key), "wrong type for ", quoted(key), ": expected ",
                describe_type(*field), ", got ", describe_value(value));
      for (size_t i = 0; i < value.size(); ++i) {
        check_element(*field, value[i], key, key + "[" + std::to_string(i) + "]");
      }
    }
  }

 private:
  const Field* find(const std::string& key) const {
    for (const Field& field : fields_) {
      if (field.key == key) return &field;
    }
    return nullptr;
  }

  std::string place(const std::string& key) const {
    const auto origin = tree_.origins.find(key);
    return "[" + (origin == tree_.origins.end() ? tree_.name : origin->second) + "] ";
  }

  [[noreturn]] void fail_unknown(const std::string& key, const std::string& prefix) const {
    std::vector<std::string> siblings;
    std::vector<std::string> sibling_names;
    std::vector<std::string> all_names;
    for (const Field& field : fields_) {
      all_names.push_back(last_name(field.key));
      if (section_of(field.key) != prefix) continue;
      siblings.push_back(field.key);
      sibling_names.push_back(last_name(field.key));
    }
    std::string nearest = nearest_name(last_name(key), sibling_names);
    if (!nearest.empty()) {
      nearest = prefix + nearest;
    } else if (const std::string name = nearest_name(last_name(key), all_names); !name.empty()) {
      const auto at = std::find(all_names.begin(), all_names.end(), name) - all_names.begin();
      nearest = fields_[static_cast<size_t>(at)].key;
    }
    const std::string expected = nearest.empty()
                                     ? "one of " + join(siblings)
                                     : "one of the known fields (did you mean '" + nearest + "'?)";
    throw std::invalid_argument(place(key) + "unknown field " + quoted(key) + ": expected " +
                                expected);
  }

  /// `label` is the key, or the key with the element's number.
  void check_element(const Field& field, const json& value, const std::string& key,
                     const std::string& label) const {
    const std::string expected = describe_element(field);
    check_arg(has_type(field.type, value), place(key), "wrong type for ", quoted(label),
              ": expected ", expected, ", got ", describe_value(value));
    if (value.is_number()) {
      check_arg(in_range(field, value), place(key), "out of range: expected ", quoted(label),
                " to be a finite ", expected, ", got ", describe_value(value));
    }
    if (field.type == FieldType::kWord) check_word(field, value.get<std::string>(), key, label);
  }

  void check_word(const Field& field, const std::string& word, const std::string& key,
                  const std::string& label) const {
    for (const std::string& known : field.words) {
      if (word == known) return;
    }
    check_arg(false, place(key), "unknown word for ", quoted(label), ": expected ",
              describe_element(field), ", got ", quoted(word), suggest_name(word, field.words));
  }

  const std::vector<Field>& fields_;
  const ConfigTree& tree_;
};

const json* find_value(const json& root, const std::string& key) {
  const json* at = &root;
  for (size_t begin = 0; begin <= key.size();) {
    const size_t end = std::min(key.find('.', begin), key.size());
    const auto member = at->find(key.substr(begin, end - begin));
    if (member == at->end()) return nullptr;
    at = &*member;
    begin = end + 1;
  }
  return at;
}

}  // namespace

Field detail::named_field(const std::string& key, const char* help, Range range) {
  return {.key = key, .help = help, .range = range, .words = {}, .get = {}, .set = {}};
}

std::string number_text(double number) {
  constexpr double kLongestInteger = 1e15;
  if (std::abs(number) < kLongestInteger && number == std::trunc(number)) {
    return std::to_string(static_cast<int64_t>(number));
  }
  std::array<char, 32> text{};
  const auto end = std::to_chars(text.data(), text.data() + text.size(), number).ptr;
  return {text.data(), end};
}

std::string describe_type(const Field& field) {
  return (field.is_list ? "list, each " : "") + describe_element(field);
}

void assign_fields(const std::vector<Field>& fields, const ConfigTree& tree) {
  check_arg(tree.values.is_object(), "[", tree.name, "] wrong type: expected a table, got ",
            describe_value(tree.values));
  TreeChecker(fields, tree).check_section(tree.values, "");
  for (const Field& field : fields) {
    const json* const value =
        field.type == FieldType::kSection ? nullptr : find_value(tree.values, field.key);
    if (value != nullptr) field.set(*value);
  }
}

nlohmann::json fields_to_json(const std::vector<Field>& fields) {
  json object = json::object();
  for (const Field& field : fields) {
    json* at = &object;
    for (size_t begin = 0; begin <= field.key.size();) {
      const size_t end = std::min(field.key.find('.', begin), field.key.size());
      at = &(*at)[field.key.substr(begin, end - begin)];
      begin = end + 1;
    }
    *at = field.type == FieldType::kSection ? json::object() : field.get();
  }
  return object;
}

}  // namespace ddpm
