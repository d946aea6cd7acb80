#include <utility>

#include "ddpm/serving/api/openapi_parts.h"

namespace ddpm::openapi {
namespace {

json word(const std::vector<const char*>& words) {
  json schema{{"type", json::array({"string", "null"})}, {"enum", words}};
  schema["enum"].push_back(nullptr);
  return schema;
}

json number_up_to(int64_t min, int64_t max) {
  return {{"type", json::array({"integer", "null"})}, {"minimum", min}, {"maximum", max}};
}

json openai_request() {
  json properties{{"prompt", one_of_types("string")},
                  {"model", one_of_types("string")},
                  {"n", number_up_to(1, 10)},
                  {"size", one_of_types("string")},
                  {"response_format", word({"b64_json", "url"})},
                  {"output_format", word({"png", "webp"})},
                  {"output_compression", number_up_to(100, 100)},
                  {"background", word({"auto", "opaque"})},
                  {"stream", one_of_types("boolean")},
                  {"partial_images", number_up_to(0, 3)},
                  {"seed", unsigned_schema("drawn where it is absent")},
                  {"sampler", reference("SamplerOptions")},
                  {"guidance", reference("GuidanceOptions")}};
  properties["seed"]["type"] = json::array({"integer", "null"});
  properties["prompt"]["description"] = "the name of a class, class:NUMBER, or nothing";
  properties["size"]["description"] = "auto, or the model's own";
  for (const char* name : {"moderation", "quality", "style", "user"}) {
    properties[name] = {{"description", "without effect"}};
  }
  return object_schema(std::move(properties), /*is_closed=*/true);
}

json openai_answer() {
  const json image{{"type", "object"},
                   {"properties", {{"b64_json", text_schema()}, {"url", text_schema()}}}};
  return object_schema({{"created", integer_schema()},
                        {"data", list_of(image)},
                        {"output_format", text_schema()},
                        {"size", text_schema()},
                        {"quality", text_schema()},
                        {"background", text_schema()},
                        {"usage", {{"type", "object"}}},
                        {"seed", unsigned_schema("of the request")}});
}

}  // namespace

json openai_schemas() {
  const json error = object_schema({{"message", text_schema()},
                                    {"type", text_schema()},
                                    {"param", one_of_types("string")},
                                    {"code", text_schema()}});
  // What a key, a length or a media type lacks is told before the route is asked.
  const json any_error{
      {"anyOf", json::array({object_schema({{"error", error}}), reference("Error")})}};
  return {{"ImageRequest", openai_request()},
          {"ImageAnswer", openai_answer()},
          {"ImageError", any_error}};
}

}  // namespace ddpm::openapi
