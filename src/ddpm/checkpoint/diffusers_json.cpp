#include "ddpm/checkpoint/diffusers_json.h"

#include "ddpm/core/check.h"

namespace ddpm {

std::string class_name_of(const nlohmann::json& json, const std::string& default_name,
                          const std::string& where) {
  check_arg(json.is_object(), "[", where, "] expected an object, got ", json.type_name());
  const auto found = json.find("_class_name");
  if (found == json.end()) return default_name;
  check_arg(found->is_string(), "[", where, "] _class_name: expected a string, got ",
            found->dump());
  return found->get<std::string>();
}

nlohmann::json without_private_keys(const nlohmann::json& json) {
  nlohmann::json values = nlohmann::json::object();
  for (const auto& [key, value] : json.items()) {
    if (!key.starts_with('_')) values[key] = value;
  }
  return values;
}

void take_fixed(nlohmann::json& values, const char* key, const nlohmann::json& only,
                const std::string& where) {
  const auto found = values.find(key);
  if (found == values.end()) return;
  check_arg(*found == only, "[", where, "] ", key, ": expected ", only.dump(),
            ", the one that is supported, got ", found->dump());
  values.erase(found);
}

}  // namespace ddpm
