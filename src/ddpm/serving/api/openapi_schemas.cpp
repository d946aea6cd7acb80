#include <nlohmann/json.hpp>

#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/config/field_list.h"
#include "ddpm/config/guidance_config.h"
#include "ddpm/config/sample_config.h"
#include "ddpm/serving/api/openapi.h"
#include "ddpm/serving/api/openapi_parts.h"

namespace ddpm::openapi {
namespace {

/// A field as JSON Schema; null stands for its default everywhere.
json schema_of_field(const Field& field) {
  json element = element_schema(field);
  json schema = field.is_list ? list_of(std::move(element)) : std::move(element);
  schema["type"] = json::array({schema.at("type"), "null"});
  if (schema.contains("enum")) schema["enum"].push_back(nullptr);
  schema["default"] = field.get();
  schema["description"] = field.help;
  return schema;
}

json properties_of(const std::vector<Field>& fields) {
  json properties = json::object();
  for (const Field& field : fields) properties[field.key] = schema_of_field(field);
  return properties;
}

template <typename Options>
json options_schema() {
  Options options;
  json schema = object_schema(properties_of(list_fields(options)), /*is_closed=*/true);
  schema["type"] = json::array({"object", "null"});
  return schema;
}

json generation_schema(const GenerationLimits& limits) {
  GenerationFields fields;
  json properties = properties_of(list_generation_fields(fields, limits));
  properties["model"].erase("default");
  properties["seed"] = unsigned_schema("drawn where it is absent");
  properties["first_image"] = unsigned_schema("number of the seed's first image");
  for (const char* name : {"seed", "first_image"}) {
    properties[name]["type"] = json::array({"integer", "null"});
  }
  const json label{{"type", json::array({"string", "integer"})}};
  properties["class"] = {
      {"anyOf", json::array({label, list_of(label), json{{"type", "null"}}})},
      {"description", "name or number of a class, \"none\", or one for each image"}};
  properties["sampler"] = reference("SamplerOptions");
  properties["guidance"] = reference("GuidanceOptions");
  return object_schema(std::move(properties), /*is_closed=*/true);
}

json image_schema() {
  return object_schema({{"url", text_schema()},
                        {"seed", unsigned_schema("of the request")},
                        {"index", integer_schema()},
                        {"width", integer_schema(1)},
                        {"height", integer_schema(1)},
                        {"media_type", text_schema()}});
}

json error_schema(bool has_request_id) {
  json properties{
      {"code", text_schema()}, {"message", text_schema()}, {"field", one_of_types("string")}};
  if (has_request_id) properties["request_id"] = text_schema();
  return object_schema(std::move(properties));
}

json job_schema() {
  const json time{{"type", json::array({"string", "null"})}, {"format", "date-time"}};
  const json progress = object_schema({{"step", integer_schema()},
                                       {"steps", integer_schema()},
                                       {"images_done", integer_schema()},
                                       {"images", integer_schema(1)}});
  return object_schema(
      {{"id", text_schema()},
       {"state",
        {{"type", "string"},
         {"enum", json::array({"queued", "running", "succeeded", "failed", "cancelled"})}}},
       {"model", text_schema()},
       {"model_hash", text_schema()},
       {"created_at", time},
       {"started_at", time},
       {"finished_at", time},
       {"position", one_of_types("integer")},
       {"progress", progress},
       {"request", reference("Generation")},
       {"images", list_of(reference("Image"))},
       {"trace",
        object_schema({{"frames", integer_schema()}, {"t", list_of({{"type", "number"}})}})},
       {"error", {{"anyOf", json::array({error_schema(false), json{{"type", "null"}}})}}},
       {"links",
        object_schema(
            {{"self", text_schema()}, {"events", text_schema()}, {"cancel", text_schema()}})}});
}

json model_schema() {
  const json own = object_schema(
      {{"image_shape", list_of(integer_schema(1))},
       {"classes", {{"type", json::array({"array", "null"})}, {"items", text_schema()}}},
       {"null_class", {{"type", "boolean"}}},
       {"self_conditioning", {{"type", "boolean"}}},
       {"super_resolution", integer_schema(0)},
       {"num_timesteps", integer_schema(1)},
       {"prediction", text_schema()},
       {"default_sampler", reference("SamplerOptions")},
       {"hash", text_schema()}});
  return object_schema({{"id", text_schema()},
                        {"object", {{"const", "model"}}},
                        {"created", integer_schema()},
                        {"owned_by", text_schema()},
                        {"ddpm", own}});
}

json capabilities_schema() {
  const json options = list_of({{"type", "object"}});
  return object_schema({{"version", text_schema()},
                        {"samplers", options},
                        {"sampler_options", options},
                        {"guidance_options", options},
                        {"request_options", options},
                        {"formats", list_of(text_schema())},
                        {"limits", {{"type", "object"}}}});
}

}  // namespace

json component_schemas(const GenerationLimits& limits) {
  const json refused = object_schema({{"id", text_schema()}, {"reason", text_schema()}});
  const json images = object_schema({{"b64", text_schema()},
                                     {"seed", unsigned_schema("of the request")},
                                     {"index", integer_schema()},
                                     {"media_type", text_schema()}});
  const json status = object_schema({{"status", {{"const", "ok"}}}});
  json schemas{{"SamplerOptions", options_schema<SamplerOptions>()},
               {"GuidanceOptions", options_schema<GuidanceOptions>()},
               {"Generation", generation_schema(limits)},
               {"Image", image_schema()},
               {"Images", object_schema({{"images", list_of(images)}})},
               {"Job", job_schema()},
               {"Jobs", object_schema({{"object", {{"const", "list"}}},
                                       {"data", list_of(reference("Job"))},
                                       {"has_more", {{"type", "boolean"}}}})},
               {"Model", model_schema()},
               {"Models", object_schema({{"object", {{"const", "list"}}},
                                         {"data", list_of(reference("Model"))},
                                         {"refused", list_of(refused)}})},
               {"Capabilities", capabilities_schema()},
               {"Status", status},
               {"Error", object_schema({{"error", error_schema(true)}})}};
  schemas.update(upload_schemas());
  schemas.update(openai_schemas());
  return schemas;
}

}  // namespace ddpm::openapi
