#include "ddpm/serving/api/openapi.h"

#include <nlohmann/json.hpp>

#include <algorithm>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace ddpm {
namespace {

using nlohmann::json;

/// What a route's pattern doesn't say.
struct Operation {
  std::string_view method, pattern, summary;
  int status = 200;
  std::string_view media_type = "application/json";
  std::string_view schema = {};  ///< Of JSON; empty: any.
};

constexpr Operation kOperations[] = {
    {"GET", "/v1/models", "The models that are served", 200, "application/json", "Models"},
    {"GET", "/v1/models/{id}", "A model", 200, "application/json", "Model"},
    {"GET", "/v1/capabilities", "Samplers, options and limits", 200, "application/json",
     "Capabilities"},
    {"POST", "/v1/jobs", "Draw images; come back for them", 202, "application/json", "Job"},
    {"GET", "/v1/jobs", "Jobs, newest first", 200, "application/json", "Jobs"},
    {"GET", "/v1/jobs/{id}", "A job", 200, "application/json", "Job"},
    {"DELETE", "/v1/jobs/{id}", "Cancel an open job, or forget one that is over", 200,
     "application/json", "Job"},
    {"GET", "/v1/jobs/{id}/events", "A job's events", 200, "text/event-stream"},
    {"GET", "/v1/jobs/{id}/images/{index}", "An image that is done", 200, "image/png"},
    {"GET", "/v1/jobs/{id}/trace/{frame}/{picture}.png",
     "A moment of the first image's way: x_t, noise or pred_x_start", 200, "image/png"},
    {"POST", "/v1/generate", "Draw images and wait: one as it is, several as JSON", 200,
     "image/png"},
    {"POST", "/v1/forward", "The forward process of an uploaded image"},
    {"GET", "/livez", "Whether the process answers", 200, "text/plain"},
    {"GET", "/readyz", "Whether a request would be taken in", 200, "text/plain"},
    {"GET", "/metrics", "Prometheus metrics", 200, "text/plain"},
};

const Operation* find_operation(std::string_view method, std::string_view pattern) {
  const auto* const found = std::find_if(
      std::begin(kOperations), std::end(kOperations),
      [&](const Operation& known) { return known.method == method && known.pattern == pattern; });
  return found == std::end(kOperations) ? nullptr : found;
}

bool is_described(std::string_view pattern) {
  return pattern.starts_with("/v1/") || pattern == "/livez" || pattern == "/readyz" ||
         pattern == "/metrics";
}

std::vector<std::string> names_in(std::string_view pattern) {
  std::vector<std::string> names;
  for (std::size_t at = pattern.find('{'); at != pattern.npos; at = pattern.find('{', at + 1)) {
    names.emplace_back(pattern.substr(at + 1, pattern.find('}', at) - at - 1));
  }
  return names;
}

json parameter(const std::string& name, const char* place, const char* type = "string") {
  return {{"name", name},
          {"in", place},
          {"required", std::string_view(place) == "path"},
          {"schema", {{"type", type}}}};
}

json parameters_of(std::string_view method, const std::string& pattern) {
  json parameters = json::array();
  for (const std::string& name : names_in(pattern)) parameters.push_back(parameter(name, "path"));
  if (method == "GET" && pattern == "/v1/jobs") {
    parameters.push_back(parameter("limit", "query", "integer"));
    parameters.push_back(parameter("after", "query"));
  }
  if (pattern.ends_with("/events")) parameters.push_back(parameter("Last-Event-ID", "header"));
  if (method == "POST" && (pattern == "/v1/jobs" || pattern == "/v1/generate")) {
    parameters.push_back(parameter("Idempotency-Key", "header"));
  }
  return parameters;
}

json reference(std::string_view name) {
  return {{"$ref", "#/components/schemas/" + std::string(name)}};
}

json content(std::string_view media_type, std::string_view schema) {
  json described = json::object();
  if (!schema.empty()) described["schema"] = reference(schema);
  return {{std::string(media_type), std::move(described)}};
}

json answers_of(const HttpRoute& route, const Operation* operation) {
  const json error{{"description", "An error"}, {"content", content("application/json", "Error")}};
  const Operation known = operation == nullptr ? Operation{} : *operation;
  json good{{"description", "Done"}, {"content", content(known.media_type, known.schema)}};
  if (route.pattern == "/v1/generate")
    good["content"].update(content("application/json", "Images"));
  json answers{{std::to_string(known.status), std::move(good)}, {"default", error}};
  if (route.access == HttpAccess::kKey) answers["401"] = error;
  if (!names_in(route.pattern).empty()) answers["404"] = error;
  if (route.max_body_bytes == 0) return answers;
  for (const char* status : {"400", "413", "415", "422", "429", "503"}) answers[status] = error;
  return answers;
}

json body_of(const HttpRoute& route) {
  json all = json::object();
  for (const std::string& type : route.media_types) {
    all.update(content(type, type == "application/json" ? "Generation" : ""));
  }
  return {{"required", true}, {"content", std::move(all)}};
}

json operation_json(const HttpRoute& route) {
  const std::string_view method = http_method_name(route.method);
  const Operation* const operation = find_operation(method, route.pattern);
  json described{
      {"summary", operation == nullptr ? route.pattern : std::string(operation->summary)},
      {"parameters", parameters_of(method, route.pattern)},
      {"responses", answers_of(route, operation)}};
  if (route.max_body_bytes > 0) described["requestBody"] = body_of(route);
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
  return {{"openapi", "3.1.0"},
          {"info", {{"title", "ddpm serve"}, {"version", service.version}}},
          {"paths", std::move(paths)},
          {"security", json::array({json{{"bearer", json::array()}}, json{{"key", json::array()}},
                                    json::object()})},
          {"components",
           {{"schemas", openapi_schemas(service.limits)},
            {"securitySchemes", {{"bearer", bearer}, {"key", header}}}}}};
}

void add_openapi_route(HttpRouter& router, const Service& service) {
  const std::string text = openapi_document(router, service).dump();
  router.add(HttpMethod::kGet, "/openapi.json", HttpAccess::kPublic,
             [text](const HttpRequest&) { return json_response(200, text); });
}

}  // namespace ddpm
