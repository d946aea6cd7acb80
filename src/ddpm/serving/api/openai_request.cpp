#include "ddpm/serving/api/openai_request.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <cmath>
#include <optional>
#include <string_view>
#include <utility>

#include "ddpm/core/one_line.h"
#include "ddpm/serving/api/generation_options.h"
#include "ddpm/serving/http/http_json.h"

namespace ddpm {
namespace {

using nlohmann::json;

constexpr int64_t kMaxImages = 10;  // OpenAI's
constexpr int64_t kMaxPartialImages = 3;
constexpr int kBadRequest = 400;
// Read, and without effect here: they are about prompts, billing and moderation.
constexpr std::string_view kWithoutEffect[] = {"moderation", "quality", "style", "user"};
constexpr std::string_view kKnown[] = {"background",
                                       "guidance",
                                       "model",
                                       "n",
                                       "output_compression",
                                       "output_format",
                                       "prompt",
                                       "partial_images",
                                       "response_format",
                                       "sampler",
                                       "seed",
                                       "size",
                                       "stream"};

[[noreturn]] void refuse(const std::string& member, const std::string& expected,
                         const json& value) {
  throw HttpError(kBadRequest, "invalid_request",
                  "[" + member + "] expected " + expected + ", got " + one_line(value.dump()),
                  member);
}

const json* member(const json& body, const char* name) {
  const auto found = body.find(name);
  return found == body.end() || found->is_null() ? nullptr : &*found;
}

int64_t count_of(const json& body, const char* name, int64_t otherwise, int64_t least,
                 int64_t most) {
  const json* const value = member(body, name);
  if (value == nullptr) return otherwise;
  const double number = value->is_number() ? value->get<double>() : std::nan("");
  // 2.0 is as whole as 2: JSON knows no difference.
  if (number != std::trunc(number) || number < static_cast<double>(least) ||
      number > static_cast<double>(most)) {
    refuse(name, "a number from " + std::to_string(least) + " to " + std::to_string(most), *value);
  }
  return static_cast<int64_t>(number);
}

/// One of the words, the first where the member is absent.
std::string word_of(const json& body, const char* name, const std::vector<std::string>& words) {
  const json* const value = member(body, name);
  if (value == nullptr) return words.front();
  if (value->is_string() && std::ranges::find(words, value->get<std::string>()) != words.end()) {
    return value->get<std::string>();
  }
  std::string expected = words.front();
  for (std::size_t i = 1; i < words.size(); ++i) expected += " or " + words[i];
  refuse(name, expected, *value);
}

void check_members(const json& body) {
  if (!body.is_object()) {
    throw HttpError(kBadRequest, "invalid_request", "[body] expected a JSON object");
  }
  for (const auto& [name, value] : body.items()) {
    if (std::ranges::find(kKnown, name) == std::end(kKnown) &&
        std::ranges::find(kWithoutEffect, name) == std::end(kWithoutEffect)) {
      throw HttpError(
          kBadRequest, "invalid_request",
          "[" + one_line(name) + "] expected a member that OpenAI's API or this one has",
          one_line(name));
    }
  }
}

std::string trimmed(const std::string& text) {
  const auto first = text.find_first_not_of(" \t\r\n");
  if (first == std::string::npos) return "";
  return text.substr(first, text.find_last_not_of(" \t\r\n") - first + 1);
}

/// The class that a prompt names, or null for none.
json class_of_prompt(const json& body, const ServedModel& model) {
  const json* const value = member(body, "prompt");
  if (value == nullptr) return nullptr;
  if (!value->is_string()) refuse("prompt", "text", *value);
  const std::string prompt = trimmed(value->get<std::string>());
  if (prompt.empty()) return nullptr;
  constexpr std::string_view kClass = "class:";
  const std::string name = prompt.starts_with(kClass) ? prompt.substr(kClass.size()) : prompt;
  for (std::size_t i = 0; i < model.class_names.size(); ++i) {
    const bool is_number = prompt != name && name == std::to_string(i);
    if (is_number || equal_ignoring_case(name, model.class_names[i])) return i;
  }
  std::string expected = "an empty prompt, since the model has no classes";
  if (!model.class_names.empty()) {
    expected = "a class's name, class:NUMBER or nothing; the classes are ";
    for (const std::string& each : model.class_names) expected += each + ", ";
    expected.resize(expected.size() - 2);
  }
  refuse("prompt", expected, *value);
}

std::shared_ptr<const ServedModel> model_of(const Service& service, const json& body) {
  const auto all = service.models.list();
  const json* const value = member(body, "model");
  if (value == nullptr && all.size() == 1) return all.front();
  if (value == nullptr || !value->is_string()) {
    refuse("model", "the id of a model", value == nullptr ? json() : *value);
  }
  if (auto model = service.models.find(value->get<std::string>())) return model;
  throw HttpError(
      404, "model_not_found",
      "[model] expected the id of a model that /v1/models lists, got " + one_line(value->dump()),
      "model");
}

/// 422, which OpenAI's API has no use for, becomes 400.
HttpError as_bad_request(const HttpError& error) {
  return error.status == 422 ? HttpError(kBadRequest, error.code, error.what(), error.field)
                             : error;
}

}  // namespace

OpenAiRequest parse_openai_request(const Service& service, const HttpRequest& request) {
  const json body = parse_client_json(request.body);
  check_members(body);
  const auto model = model_of(service, body);
  OpenAiRequest parsed;
  parsed.wants_url = word_of(body, "response_format", {"b64_json", "url"}) == "url";
  parsed.output_format = word_of(body, "output_format", {"png", "webp"});
  word_of(body, "background", {"auto", "opaque"});
  count_of(body, "output_compression", 100, 100, 100);  // both formats are lossless
  parsed.size = std::to_string(model->image_shape[2]) + "x" + std::to_string(model->image_shape[1]);
  word_of(body, "size", {"auto", parsed.size});
  if (const json* const stream = member(body, "stream")) {
    if (!stream->is_boolean()) refuse("stream", "true or false", *stream);
    parsed.stream = stream->get<bool>();
  }
  const int64_t images = count_of(body, "n", 1, 1, parsed.stream ? 1 : kMaxImages);
  parsed.partial_images = count_of(body, "partial_images", 0, 0, kMaxPartialImages);
  json own{{"model", model->id},
           {"num_images", images},
           {"format", parsed.output_format},
           {"previews", parsed.stream && parsed.partial_images > 0}};
  if (json label = class_of_prompt(body, *model); !label.is_null()) own["class"] = std::move(label);
  for (const char* name : {"seed", "sampler", "guidance"}) {
    if (const json* const value = member(body, name)) own[name] = *value;
  }
  try {
    parsed.job = parse_generation(own, service.models, service.limits);
  } catch (const HttpError& error) {
    throw as_bad_request(error);
  }
  return parsed;
}

json openai_error_json(const HttpError& error) {
  const char* type = "server_error";
  if (error.status == 429) type = "rate_limit_error";
  if (error.status >= 400 && error.status < 429) type = "invalid_request_error";
  return {{"error",
           {{"message", error.what()},
            {"type", type},
            {"param", error.field.empty() ? json() : json(error.field)},
            {"code", error.code}}}};
}

HttpResponse openai_error_response(const HttpError& error) {
  HttpResponse response = json_response(error.status, openai_error_json(error).dump());
  response.headers = error.headers;
  return response;
}

}  // namespace ddpm
