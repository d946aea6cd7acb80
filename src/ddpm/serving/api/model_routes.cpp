#include <nlohmann/json.hpp>

#include <utility>

#include "ddpm/config/json_config.h"
#include "ddpm/core/one_line.h"
#include "ddpm/sampling/levels.h"
#include "ddpm/sampling/sampler_options.h"
#include "ddpm/serving/api/native_routes.h"

namespace ddpm {
namespace {

using nlohmann::json;

json model_json(const ServedModel& model) {
  return {{"id", model.id},
          {"object", "model"},
          {"created", model.created_s},
          {"owned_by", "ddpm"},
          {"ddpm",
           {{"image_shape", model.image_shape},
            {"classes", model.num_classes > 0 ? json(model.class_names) : json(nullptr)},
            {"null_class", model.null_class >= 0},
            {"self_conditioning", model.engine->self_conditioning},
            {"super_resolution", model.super_resolution},
            {"num_timesteps", model.num_timesteps},
            {"prediction", enum_word(model.prediction)},
            {"default_sampler", config_to_json(model.default_sampler)},
            {"hash", model.hash}}}};
}

json models_json(const ServedModels& models) {
  json data = json::array();
  json refused = json::array();
  for (const auto& model : models.list()) data.push_back(model_json(*model));
  for (const auto& model : models.refused()) {
    refused.push_back({{"id", model.id}, {"reason", model.reason}});
  }
  return {{"object", "list"}, {"data", std::move(data)}, {"refused", std::move(refused)}};
}

/// Null for the one whose default is every timestep.
json default_steps(SamplerKind kind) {
  constexpr int64_t kManyTimesteps = 1'000'000;
  const int64_t steps = count_sampler_steps({.kind = kind}, kManyTimesteps);
  return steps == kManyTimesteps ? json(nullptr) : json(steps);
}

json samplers_json() {
  json samplers = json::array();
  for (std::size_t i = 0; i < EnumNames<SamplerKind>::names.size(); ++i) {
    const auto kind = static_cast<SamplerKind>(i);
    samplers.push_back({{"kind", enum_word(kind)},
                        {"default_steps", default_steps(kind)},
                        {"options", options_read_by(kind)}});
  }
  return samplers;
}

json schema_of(const std::vector<Field>& fields) {
  json schema = json::array();
  for (const Field& field : fields) schema.push_back(field_schema(field));
  return schema;
}

json capabilities_json(const Service& service) {
  SamplerOptions sampler;
  GuidanceOptions guidance;
  GenerationFields fields;
  const GenerationLimits& limits = service.limits;
  return {{"version", service.version},
          {"samplers", samplers_json()},
          {"sampler_options", schema_of(list_fields(sampler))},
          {"guidance_options", schema_of(list_fields(guidance))},
          {"request_options", schema_of(list_generation_fields(fields, limits))},
          {"formats", EnumNames<ImageFormat>::names},
          {"limits",
           {{"max_images", limits.max_images},
            {"max_steps", limits.max_steps},
            {"max_trace_frames", limits.max_trace_frames},
            {"max_deadline_ms", limits.max_deadline_ms},
            {"max_result_bytes", limits.max_result_bytes},
            {"max_json_bytes", HttpRouter::kJsonBodyBytes}}}};
}

}  // namespace

void add_model_routes(HttpRouter& router, Service& service) {
  router.add(HttpMethod::kGet, "/v1/models", HttpAccess::kKey, [&service](const HttpRequest&) {
    return json_response(200, models_json(service.models).dump());
  });
  router.add(HttpMethod::kGet, "/v1/models/{id}", HttpAccess::kKey,
             [&service](const HttpRequest& request) {
               const std::string& id = request.parameters.at("id");
               const auto model = service.models.find(id);
               if (model == nullptr) {
                 throw HttpError(404, "unknown_model",
                                 "There is no model '" + one_line(id) + "' here.", "model");
               }
               return json_response(200, model_json(*model).dump());
             });
  router.add(HttpMethod::kGet, "/v1/capabilities", HttpAccess::kKey,
             [text = capabilities_json(service).dump()](const HttpRequest&) {
               return json_response(200, text);
             });
}

}  // namespace ddpm
