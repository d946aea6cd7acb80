#include <algorithm>
#include <limits>
#include <utility>
#include <vector>

#include "ddpm/serving/api/openapi_parts.h"

namespace ddpm::openapi {
namespace {

constexpr const char* kJobIdPattern = "^[0-9a-hjkmnp-tv-z]{26}$";
constexpr int64_t kMaxPictureNumber = std::numeric_limits<int32_t>::max();

json whole_number(int64_t max, const char* help) {
  return {{"type", "integer"}, {"minimum", 0}, {"maximum", max}, {"description", help}};
}

json parameter(const std::string& name, const char* place, json schema) {
  return {{"name", name},
          {"in", place},
          {"required", std::string_view(place) == "path"},
          {"schema", std::move(schema)}};
}

json job_id_schema() { return pattern_schema(kJobIdPattern, "of a job"); }

/// A {name} of a pattern.
json path_schema(const std::string& name, const std::string& pattern) {
  if (name == "frame") return whole_number(kMaxPictureNumber, "0 is the noisiest");
  if (name == "index") {
    return pattern_schema("^[0-9]{1,9}([.](png|webp|npz))?$", "number of an image of the job");
  }
  if (name == "picture") return {{"enum", json::array({"x_t", "noise", "pred_x_start"})}};
  if (pattern.starts_with("/v1/jobs/")) return job_id_schema();
  return pattern_schema("^[^/\\\\\\x00-\\x1f\\x7f]+$", "as /v1/models lists it");
}

json path_parameters(const std::string& pattern) {
  json parameters = json::array();
  for (std::size_t at = pattern.find('{'); at != pattern.npos; at = pattern.find('{', at + 1)) {
    const std::string name = pattern.substr(at + 1, pattern.find('}', at) - at - 1);
    parameters.push_back(parameter(name, "path", path_schema(name, pattern)));
  }
  return parameters;
}

}  // namespace

json parameters_of(std::string_view method, const std::string& pattern) {
  constexpr int64_t kMaxJobsPage = 100;
  json parameters = path_parameters(pattern);
  if (method == "GET" && pattern == "/v1/jobs") {
    parameters.push_back(parameter("limit", "query", whole_number(kMaxJobsPage, "20 if absent")));
    parameters.push_back(parameter("after", "query", job_id_schema()));
  }
  if (pattern.ends_with("/events")) {
    const json number = whole_number(std::numeric_limits<int64_t>::max(), "the last one received");
    parameters.push_back(parameter("Last-Event-ID", "header", number));
  }
  if (method == "POST" && (pattern == "/v1/jobs" || pattern == "/v1/generate")) {
    const json key = pattern_schema("^[!-~]{1,255}$", "the same again gives the same job");
    parameters.push_back(parameter("Idempotency-Key", "header", key));
  }
  return parameters;
}

}  // namespace ddpm::openapi
