#pragma once

#include <nlohmann/json.hpp>

#include <cstdint>
#include <string>
#include <string_view>

#include "ddpm/config/field_list.h"
#include "ddpm/serving/api/generation_fields.h"

/// What the OpenAPI document is made of.
namespace ddpm::openapi {

using nlohmann::json;

json text_schema();
json pattern_schema(const char* pattern, const char* help);
json one_of_types(const char* type);  ///< or null
json integer_schema(int64_t min = 0);
json unsigned_schema(const char* help);  ///< 64 bits
json number_schema();
json list_of(json items);
json reference(std::string_view schema);

/// Closed: no other members, none of them required; else all are required, and others may come.
json object_schema(json properties, bool is_closed = false);

/// One value of a field, or one element where it is a list: type, range, words.
json element_schema(const Field& field);

/// All components.schemas of the document. Ranges, defaults and words are those of the option
/// structs.
json component_schemas(const GenerationLimits& limits);

/// Parameters of the path, the query and the head of an operation.
json parameters_of(std::string_view method, const std::string& pattern);

/// Of the forms of uploads and of what is answered to them; InpaintForm of /v1/edits/inpaint.
json upload_schemas();
std::string form_schema_name(std::string_view pattern);

/// Of /v1/images/generations.
json openai_schemas();

}  // namespace ddpm::openapi
