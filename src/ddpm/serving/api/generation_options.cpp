#include "ddpm/serving/api/generation_options.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <array>
#include <chrono>
#include <cmath>
#include <limits>
#include <random>
#include <stdexcept>
#include <string>
#include <utility>
#include <vector>

#include "ddpm/config/json_config.h"
#include "ddpm/config/nearest_name.h"
#include "ddpm/core/one_line.h"
#include "ddpm/core/sha256.h"
#include "ddpm/sampling/guidance.h"
#include "ddpm/sampling/levels.h"
#include "ddpm/sampling/sampler_options.h"
#include "ddpm/serving/api/generation_classes.h"
#include "ddpm/serving/http/http_message.h"

namespace ddpm {
namespace {

using nlohmann::json;

[[noreturn]] void refuse_field(const std::string& field, const std::string& message) {
  throw HttpError(422, "invalid_request", message, field);
}

/// Calls what throws std::invalid_argument about a field.
template <typename Check>
auto about_field(const std::string& field, const Check& check) {
  try {
    return check();
  } catch (const std::invalid_argument& error) {
    refuse_field(field, error.what());
  }
}

void set_field(const std::vector<Field>& fields, const std::string& place, const std::string& key,
               const json& value) {
  const std::string field = place + one_line(key);
  about_field(field, [&] {
    ConfigTree tree;
    tree.values[key] = value;
    tree.name = field;
    assign_fields(fields, tree);
  });
}

/// Numbers that are whole as integers, however they are written: JSON knows no difference, and some
/// languages write 20 as 20.0.
json with_whole_numbers(json value) {
  constexpr double kLargest = 9007199254740992.0;  // 2^53: beyond it a double skips integers
  if (value.is_structured()) {
    for (json& each : value) each = with_whole_numbers(std::move(each));
  } else if (value.is_number_float()) {
    const auto number = value.get<double>();
    const bool is_whole = std::abs(number) <= kLargest && std::trunc(number) == number;
    if (is_whole) return static_cast<int64_t>(number);
  }
  return value;
}

/// A member of the body; null where there is none.
const json& member(const json& body, const char* key) {
  static const json nothing = nullptr;
  const auto found = body.find(key);
  return found == body.end() ? nothing : *found;
}

/// Sets the fields that an object of the body has. Null stands for the default.
void set_fields(const std::vector<Field>& fields, const std::string& name, const json& object) {
  if (object.is_null()) return;
  if (!object.is_object()) {
    refuse_field(name,
                 "[" + name + "] expected an object of options, got " + one_line(object.dump()));
  }
  for (const auto& [key, value] : object.items()) {
    if (!value.is_null()) set_field(fields, name + ".", key, value);
  }
}

constexpr std::array kOwnMembers{"sampler", "guidance", "class", "seed", "first_image"};

GenerationFields parse_fields(const json& body, const GenerationLimits& limits) {
  if (!body.is_object()) refuse_field("", "[body] expected a JSON object");
  GenerationFields fields;
  const std::vector<Field> list = list_generation_fields(fields, limits);
  std::vector<std::string> names(kOwnMembers.begin(), kOwnMembers.end());
  for (const Field& field : list) names.push_back(field.key);
  for (const auto& [key, value] : body.items()) {
    if (std::find(names.begin(), names.end(), key) == names.end()) {
      const std::string shown = one_line(key);
      refuse_field(shown, "[" + shown + "] unknown field: expected one of those that are known" +
                              suggest_name(key, names));
    }
    const bool is_own = std::find(kOwnMembers.begin(), kOwnMembers.end(), key) != kOwnMembers.end();
    if (!is_own && !value.is_null()) set_field(list, "", key, value);
  }
  return fields;
}

std::shared_ptr<const ServedModel> find_model(const ServedModels& models, const std::string& id) {
  const auto all = models.list();
  if (id.empty() && all.size() == 1) return all.front();
  std::vector<std::string> ids;
  for (const auto& model : all) {
    if (model->id == id) return model;
    ids.push_back(model->id);
  }
  if (id.empty()) {
    refuse_field("model", "[model] expected the id of a model, as more than one is served");
  }
  throw HttpError(
      404, "unknown_model",
      "[model] expected a model that is served, got '" + one_line(id) + "'" + suggest_name(id, ids),
      "model");
}

void check_draws_from_noise(const ServedModel& model) {
  if (model.super_resolution == 0) return;
  refuse_field("model", "[model] expected one that draws from noise alone, got '" + model.id +
                            "', which enlarges images " + std::to_string(model.super_resolution) +
                            " times: POST /v1/edits/superres asks it");
}

uint64_t parse_unsigned(const json& body, const char* key, uint64_t otherwise) {
  const json& value = member(body, key);
  if (value.is_null()) return otherwise;
  if (value.is_number_unsigned()) return value.get<uint64_t>();
  if (value.is_number_integer() && value >= 0) return value.get<uint64_t>();
  refuse_field(key, "[" + std::string(key) + "] expected an integer from 0 to 2^64 - 1, got " +
                        one_line(value.dump()));
}

/// Short enough to be told, and exact in a language whose numbers are doubles.
uint64_t draw_seed() { return std::random_device()(); }

SamplerOptions parse_sampler(const json& body, const ServedModel& model,
                             const GenerationLimits& limits) {
  const json& object = member(body, "sampler");
  SamplerOptions given = model.default_sampler;
  set_fields(list_fields(given), "sampler", object);  // for its kind, and what is wrong with it
  SamplerOptions options = options_for_sampler(model.default_sampler, given.kind);
  set_fields(list_fields(options), "sampler", object);
  const int64_t steps = about_field(
      "sampler.steps", [&] { return count_sampler_steps(options, model.num_timesteps); });
  if (steps > limits.max_steps) {
    refuse_field("sampler.steps", "[sampler.steps] expected at most " +
                                      std::to_string(limits.max_steps) + ", got " +
                                      std::to_string(steps));
  }
  options.steps = steps;
  return options;
}

GuidanceOptions parse_guidance(const json& body, const ServedModel& model) {
  GuidanceOptions guidance;
  set_fields(list_fields(guidance), "guidance", member(body, "guidance"));
  about_field("guidance", [&] { check_guidance(guidance); });
  if (guidance.scale == 1) {
    const bool has_more = guidance.rescale > 0 || !guidance.interval.empty();
    if (has_more) {
      refuse_field("guidance.scale",
                   "[guidance.scale] expected one other than 1 with rescale or interval");
    }
    return guidance;
  }
  if (model.null_class < 0) {
    refuse_field("guidance.scale", "[guidance.scale] expected 1: the model knows no null class");
  }
  about_field("guidance.interval",
              [&] { return guided_timesteps(model.engine->schedule, guidance); });
  return guidance;
}

void check_image_numbers(uint64_t first_image, int64_t num_images) {
  const auto last = static_cast<uint64_t>(num_images - 1);
  if (first_image <= std::numeric_limits<uint64_t>::max() - last) return;
  refuse_field("first_image", "[first_image] expected images up to number 2^64 - 1, got " +
                                  std::to_string(first_image) + " and " + std::to_string(last) +
                                  " more");
}

std::string resolved_text(const EngineRequest& request, const GenerationFields& fields,
                          const ServedModel& model) {
  json body{{"model", model.id},
            {"num_images", request.num_images},
            {"seed", request.seed},
            {"first_image", request.first_image},
            {"sampler", config_to_json(request.sampler)},
            {"guidance", config_to_json(request.guidance)},
            {"format", enum_word(fields.format)},
            {"previews", fields.previews},
            {"trace", fields.trace},
            {"priority", fields.priority}};
  for (const int64_t label : request.class_labels) {
    body["class"].push_back(name_of_class(model, label));
  }
  if (fields.deadline_ms > 0) body["deadline_ms"] = fields.deadline_ms;
  return json{{"request", body}, {"model_hash", model.hash}, {"image_shape", model.image_shape}}
      .dump();
}

}  // namespace

JobRequest parse_generation(const json& written, const ServedModels& models,
                            const GenerationLimits& limits, bool with_image) {
  const json body = with_whole_numbers(written);
  const GenerationFields fields = parse_fields(body, limits);
  const auto model = find_model(models, fields.model);
  if (!with_image) check_draws_from_noise(*model);
  JobRequest request;
  EngineRequest& engine = request.engine;
  engine.model = model->id;
  engine.seed = parse_unsigned(body, "seed", draw_seed());
  engine.first_image = parse_unsigned(body, "first_image", 0);
  engine.num_images = fields.num_images;
  check_image_numbers(engine.first_image, engine.num_images);
  about_field("num_images", [&] { check_result_bytes(fields, model->image_shape, limits); });
  engine.sampler = parse_sampler(body, *model, limits);
  engine.class_labels =
      parse_class_labels(member(body, "class"), *model, engine.num_images, engine.first_image);
  engine.guidance = parse_guidance(body, *model);
  engine.priority = static_cast<int>(fields.priority);
  engine.wants_previews = fields.previews;
  engine.trace_frames = fields.trace;
  if (fields.deadline_ms > 0) {
    engine.deadline = EngineClock::now() + std::chrono::milliseconds(fields.deadline_ms);
  }
  request.format = enum_word(fields.format);
  request.most_result_bytes = most_result_bytes(fields, model->image_shape);
  request.fingerprint = sha256_hex(written.dump());
  request.text = resolved_text(engine, fields, *model);
  return request;
}

}  // namespace ddpm
