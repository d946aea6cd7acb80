#pragma once

#include <nlohmann/json.hpp>

#include <concepts>
#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <type_traits>
#include <vector>

#include "ddpm/config/field.h"

namespace ddpm {

enum class FieldType { kSection, kBool, kInteger, kUnsigned, kNumber, kText, kWord };

/// One field of a config, bound to the struct it was listed from.
struct Field {
  std::string key;  ///< from the root: "train.batch_size"
  std::string help;
  FieldType type = FieldType::kSection;
  bool is_list = false;
  Range range;
  std::vector<std::string> words;  ///< of an enum
  std::function<nlohmann::json()> get;
  std::function<void(const nlohmann::json&)> set;  ///< takes what check_value() has let pass
};

/// Values to read, and where each came from.
struct ConfigTree {
  nlohmann::json values = nlohmann::json::object();
  std::string name;                            ///< of the file or object, where origins lacks a key
  std::map<std::string, std::string> origins;  ///< dotted key -> "x.toml:12" or "--set a.b=c"
};

/// Sets the fields that `tree` has; all of its values are checked before the first is set.
///
/// @throws std::invalid_argument that names place, field, what was expected and what was there.
void assign_fields(const std::vector<Field>& fields, const ConfigTree& tree);

/// The fields' values as nested objects.
nlohmann::json fields_to_json(const std::vector<Field>& fields);

/// What a field takes: "integer at least 1", "one of l1, l2, huber", "list, each number".
std::string describe_type(const Field& field);

/// The shortest text that reads back as `number`: "1000000", "0.0001".
std::string number_text(double number);

namespace detail {

template <typename T>
struct ListElement {
  using type = T;
  static constexpr bool is_list = false;
};
template <typename T>
struct ListElement<std::vector<T>> {
  using type = T;
  static constexpr bool is_list = true;
};

template <typename T>
constexpr FieldType field_type() {
  if constexpr (std::same_as<T, bool>) return FieldType::kBool;
  if constexpr (std::same_as<T, int64_t>) return FieldType::kInteger;
  if constexpr (std::same_as<T, uint64_t>) return FieldType::kUnsigned;
  if constexpr (std::same_as<T, double>) return FieldType::kNumber;
  if constexpr (std::same_as<T, std::string>) return FieldType::kText;
  if constexpr (std::is_enum_v<T>) return FieldType::kWord;
  return FieldType::kSection;
}

template <typename T>
nlohmann::json value_to_json(const T& value) {
  if constexpr (std::is_enum_v<T>) {
    return enum_word(value);
  } else if constexpr (ListElement<T>::is_list) {
    nlohmann::json list = nlohmann::json::array();
    for (const auto& element : value) list.push_back(value_to_json(element));
    return list;
  } else {
    return value;
  }
}

template <typename T>
void value_from_json(const nlohmann::json& json, T& value) {
  if constexpr (std::is_enum_v<T>) {
    constexpr auto& names = EnumNames<T>::names;
    const auto word = json.get<std::string>();
    for (size_t i = 0; i < names.size(); ++i) {
      if (word == names[i]) value = static_cast<T>(i);
    }
  } else if constexpr (ListElement<T>::is_list) {
    value.clear();
    for (const auto& element : json) value_from_json(element, value.emplace_back());
  } else {
    json.get_to(value);
  }
}

/// What of a field does not depend on its value's type; a section until it is bound.
Field named_field(const std::string& key, const char* help, Range range);

/// Type and words of `field`, and how its JSON is read from `value` and written to it.
template <typename Value>
void bind_value(Field& field, Value& value) {
  using Element = typename ListElement<Value>::type;
  field.type = field_type<Element>();
  field.is_list = ListElement<Value>::is_list;
  if constexpr (std::is_enum_v<Element>) {
    constexpr auto& names = EnumNames<Element>::names;
    field.words.assign(names.begin(), names.end());
  }
  field.get = [&value] { return value_to_json(value); };
  field.set = [&value](const nlohmann::json& json) { value_from_json(json, value); };
}

}  // namespace detail

/// The fields of `config`, sections before what they hold, in the order of visit_fields. The list
/// refers to `config`, which must outlive it.
template <typename Config>
std::vector<Field> list_fields(Config& config, const std::string& prefix = "") {
  std::vector<Field> fields;
  config.visit_fields(
      [&]<typename Value>(const char* name, Value& value, const char* help, Range range = {}) {
        fields.push_back(detail::named_field(prefix + name, help, range));
        if constexpr (detail::field_type<typename detail::ListElement<Value>::type>() ==
                      FieldType::kSection) {
          const auto inner = list_fields(value, prefix + name + ".");
          fields.insert(fields.end(), inner.begin(), inner.end());
        } else {
          detail::bind_value(fields.back(), value);
        }
      });
  return fields;
}

// Instantiated once, in listed_configs.cpp: they are long, and many files ask for them.
struct ClassifierConfig;
struct DataConfig;
struct DiffusionConfig;
struct GuidanceOptions;
struct ModelConfig;
struct RunConfig;
struct SamplerOptions;
struct SimpleUnetConfig;
struct TrainConfig;
struct UNet2DConfig;
extern template std::vector<Field> list_fields(ClassifierConfig&, const std::string&);
extern template std::vector<Field> list_fields(DataConfig&, const std::string&);
extern template std::vector<Field> list_fields(DiffusionConfig&, const std::string&);
extern template std::vector<Field> list_fields(GuidanceOptions&, const std::string&);
extern template std::vector<Field> list_fields(ModelConfig&, const std::string&);
extern template std::vector<Field> list_fields(RunConfig&, const std::string&);
extern template std::vector<Field> list_fields(SamplerOptions&, const std::string&);
extern template std::vector<Field> list_fields(SimpleUnetConfig&, const std::string&);
extern template std::vector<Field> list_fields(TrainConfig&, const std::string&);
extern template std::vector<Field> list_fields(UNet2DConfig&, const std::string&);

}  // namespace ddpm
