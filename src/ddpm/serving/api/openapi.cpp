#include "ddpm/serving/api/openapi.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <stdexcept>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "ddpm/serving/api/openapi_parts.h"

namespace ddpm {
namespace {

using nlohmann::json;

constexpr std::string_view kJson = "application/json";
constexpr std::string_view kPictures = "image/png image/webp application/x-npz";
constexpr std::string_view kEvents = "text/event-stream";

/// What a route's pattern doesn't say.
struct Operation {
  std::string_view method, pattern, summary;
  int status = 200;
  std::string_view media_types = {};     ///< Of the answer besides JSON, with blanks between them.
  std::string_view schema = {};          ///< Of the answer in JSON; empty: there is none.
  std::string_view body = "Generation";  ///< Schema of the body, where the route takes JSON.
  std::string_view refusals = {};        ///< Statuses that only this operation has.
  std::string_view header = {};          ///< That the answer has.
};

constexpr Operation kOperations[] = {
    {"GET", "/v1/models", "The models that are served", 200, "", "Models"},
    {"GET", "/v1/models/{id}", "A model", 200, "", "Model"},
    {"GET", "/v1/capabilities", "Samplers, options and limits", 200, "", "Capabilities"},
    {"POST", "/v1/jobs", "Draw images; come back for them", 202, "", "Job", "Generation", "404 409",
     "Location"},
    {"GET", "/v1/jobs", "Jobs, newest first", 200, "", "Jobs", "", "422"},
    {"GET", "/v1/jobs/{id}", "A job", 200, "", "Job"},
    {"DELETE", "/v1/jobs/{id}", "Cancel an open job, or forget one that is over", 200, "", "Job"},
    {"GET", "/v1/jobs/{id}/events", "A job's events", 200, kEvents},
    {"GET", "/v1/jobs/{id}/images/{index}", "An image that is done", 200, kPictures, "", "", "",
     "X-Seed"},
    {"GET", "/v1/jobs/{id}/trace/{frame}/{picture}.png",
     "A moment of the first image's way: x_t, noise or pred_x_start", 200, "image/png"},
    {"POST", "/v1/generate", "Draw images and wait: one as it is, several as JSON", 200, kPictures,
     "Images", "Generation", "404 409 504", "X-Seed"},
    {"POST", "/v1/images/generations", "Draw images as OpenAI's clients ask for them", 200, kEvents,
     "ImageAnswer", "ImageRequest", "404 409 504"},
    {"POST", "/v1/edits/inpaint", "Paint what a mask shows", 200, kPictures, "EditedImages", "",
     "404 504"},
    {"POST", "/v1/edits/img2img", "Draw anew from an image with noise", 200, kPictures,
     "EditedImages", "", "404 504"},
    {"POST", "/v1/edits/interpolate", "A path from one image to another", 200, kPictures,
     "EditedImages", "", "404 504"},
    {"POST", "/v1/edits/superres", "Enlarge an image", 200, kPictures, "EditedImages", "",
     "404 504"},
    {"POST", "/v1/edits/colorize", "Give a grey image colours", 200, kPictures, "EditedImages", "",
     "404 504"},
    {"POST", "/v1/forward", "The forward process of an uploaded image", 200, "", "Forward"},
    {"GET", "/livez", "Whether the process answers", 200, "", "Status"},
    {"GET", "/readyz", "Whether a request would be taken in", 200, "", "Status"},
    {"GET", "/metrics", "Prometheus metrics", 200, "text/plain"},
};

/// @throws std::logic_error if a route that is described has no line above.
const Operation& find_operation(std::string_view method, std::string_view pattern) {
  const auto* const found = std::find_if(
      std::begin(kOperations), std::end(kOperations),
      [&](const Operation& known) { return known.method == method && known.pattern == pattern; });
  if (found != std::end(kOperations)) return *found;
  throw std::logic_error("[openapi] expected a description of " + std::string(pattern));
}

bool is_described(std::string_view pattern) {
  return pattern.starts_with("/v1/") || pattern == "/livez" || pattern == "/readyz" ||
         pattern == "/metrics";
}

std::vector<std::string> words_in(std::string_view text) {
  std::vector<std::string> words;
  for (std::size_t at = 0; at < text.size();) {
    const std::size_t end = std::min(text.find(' ', at), text.size());
    words.emplace_back(text.substr(at, end - at));
    at = end + 1;
  }
  return words;
}

json json_content(std::string_view schema) {
  return {{std::string(kJson), {{"schema", openapi::reference(schema)}}}};
}

json answer_content(const Operation& operation) {
  json content = json::object();
  for (const std::string& type : words_in(operation.media_types)) content[type] = json::object();
  if (!operation.schema.empty()) content.update(json_content(operation.schema));
  return content;
}

json header_json(const char* type, bool is_required) {
  return {{"required", is_required}, {"schema", {{"type", type}}}};
}

json good_answer(const Operation& operation) {
  json good{{"description", "Done"}, {"content", answer_content(operation)}};
  if (!operation.header.empty()) {
    good["headers"][std::string(operation.header)] = header_json("string", /*is_required=*/true);
  }
  return good;
}

/// Each status that a route gives, so that a test sees others.
std::vector<std::string> refusals_of(const HttpRoute& route, const Operation& operation) {
  std::vector<std::string> statuses = words_in(operation.refusals);
  for (const char* status : {"400", "413", "500", "503"}) statuses.emplace_back(status);
  if (route.access == HttpAccess::kKey) statuses.emplace_back("401");
  if (route.pattern.find('{') != std::string::npos) statuses.emplace_back("404");
  if (route.max_body_bytes == 0) return statuses;
  for (const char* status : {"411", "415", "422", "429"}) statuses.emplace_back(status);
  return statuses;
}

json answers_of(const HttpRoute& route, const Operation& operation) {
  const bool is_openai = operation.body == "ImageRequest";
  const json error{{"description", "An error"},
                   {"content", json_content(is_openai ? "ImageError" : "Error")}};
  json answers{{std::to_string(operation.status), good_answer(operation)}};
  for (const std::string& status : refusals_of(route, operation)) answers[status] = error;
  if (answers.contains("429")) {
    answers["429"]["headers"]["Retry-After"] = header_json("integer", /*is_required=*/true);
  }
  answers["503"]["headers"]["Retry-After"] = header_json("integer", /*is_required=*/false);
  return answers;
}

json body_of(const HttpRoute& route, const Operation& operation) {
  json all = json::object();
  for (const std::string& type : route.media_types) {
    const std::string schema =
        type == kJson ? std::string(operation.body) : openapi::form_schema_name(route.pattern);
    all[type] = {{"schema", openapi::reference(schema)}};
  }
  return {{"required", true}, {"content", std::move(all)}};
}

json operation_json(const HttpRoute& route) {
  const std::string_view method = http_method_name(route.method);
  const Operation& operation = find_operation(method, route.pattern);
  json described{{"summary", operation.summary},
                 {"parameters", openapi::parameters_of(method, route.pattern)},
                 {"responses", answers_of(route, operation)}};
  if (route.max_body_bytes > 0) described["requestBody"] = body_of(route, operation);
  if (route.access == HttpAccess::kPublic) described["security"] = json::array();
  return described;
}

std::string lower_case(std::string_view word) {
  std::string lower(word);
  for (char& letter : lower) letter = static_cast<char>(letter | 0x20);
  return lower;
}

}  // namespace

json openapi_document(const HttpRouter& router, const Service& service) {
  json paths = json::object();
  for (const HttpRoute& route : router.routes()) {
    if (!is_described(route.pattern)) continue;
    paths[route.pattern][lower_case(http_method_name(route.method))] = operation_json(route);
  }
  const json bearer{{"type", "http"}, {"scheme", "bearer"}};
  const json header{{"type", "apiKey"}, {"in", "header"}, {"name", "X-Api-Key"}};
  json security = json::array({json{{"bearer", json::array()}}, json{{"key", json::array()}}});
  if (!service.needs_key) security.push_back(json::object());
  return {{"openapi", "3.1.0"},
          {"info", {{"title", "ddpm serve"}, {"version", service.version}}},
          {"paths", std::move(paths)},
          {"security", std::move(security)},
          {"components",
           {{"schemas", openapi::component_schemas(service.limits)},
            {"securitySchemes", {{"bearer", bearer}, {"key", header}}}}}};
}

void add_openapi_route(HttpRouter& router, const Service& service) {
  const std::string text = openapi_document(router, service).dump();
  router.add(HttpMethod::kGet, "/openapi.json", HttpAccess::kPublic,
             [text](const HttpRequest&) { return json_response(200, text); });
}

}  // namespace ddpm
