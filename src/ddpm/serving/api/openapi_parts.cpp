#include "ddpm/serving/api/openapi_parts.h"

#include <stdexcept>
#include <utility>

namespace ddpm::openapi {
namespace {

const char* json_type(FieldType type) {
  switch (type) {
    case FieldType::kBool:
      return "boolean";
    case FieldType::kInteger:
    case FieldType::kUnsigned:
      return "integer";
    case FieldType::kNumber:
      return "number";
    case FieldType::kText:
    case FieldType::kWord:
      return "string";
    case FieldType::kSection:
      return "object";
  }
  throw std::logic_error("[json_type] not a FieldType");
}

}  // namespace

json one_of_types(const char* type) { return {{"type", json::array({type, "null"})}}; }

json text_schema() { return {{"type", "string"}}; }

json pattern_schema(const char* pattern, const char* help) {
  return {{"type", "string"}, {"pattern", pattern}, {"description", help}};
}

json integer_schema(int64_t min) { return {{"type", "integer"}, {"minimum", min}}; }

json unsigned_schema(const char* help) {
  json schema = integer_schema();
  schema["maximum"] = 18446744073709551615U;
  schema["description"] = help;
  return schema;
}

json number_schema() { return {{"type", "number"}}; }

json list_of(json items) { return {{"type", "array"}, {"items", std::move(items)}}; }

json reference(std::string_view schema) {
  return {{"$ref", "#/components/schemas/" + std::string(schema)}};
}

json object_schema(json properties, bool is_closed) {
  json required = json::array();
  for (const auto& [name, schema] : properties.items()) required.push_back(name);
  json schema{{"type", "object"}, {"properties", std::move(properties)}};
  if (is_closed) {
    schema["additionalProperties"] = false;
  } else {
    schema["required"] = std::move(required);
  }
  return schema;
}

json element_schema(const Field& field) {
  json element{{"type", json_type(field.type)}};
  const json told = field_schema(field);
  if (!told.at("min").is_null()) element["minimum"] = told.at("min");
  if (!told.at("max").is_null()) element["maximum"] = told.at("max");
  if (!field.words.empty()) element["enum"] = field.words;
  return element;
}

}  // namespace ddpm::openapi
